"""What people do about their own account: sign in and out, password, sessions, API keys."""
