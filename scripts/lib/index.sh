# shellcheck shell=sh
# To be sourced. uv does not read pip's settings; a machine whose owner told only pip where its
# packages come from works all the same. What uv was told itself goes first.

pip_setting() { # PYTHON KEY: what pip goes by, nothing when it was told nothing
    for section in install global; do
        "$1" -m pip config get "$section.$2" 2>/dev/null && return
    done
    return 0
}

follow_pip_settings() { # PYTHON, one that has pip
    if [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}${UV_NO_INDEX:-}" ] &&
        [ ! -e /etc/uv/uv.toml ] && [ ! -e "${XDG_CONFIG_HOME:-$HOME/.config}/uv/uv.toml" ]; then
        index=${PIP_INDEX_URL:-$(pip_setting "$1" index-url)}
        if [ -n "$index" ]; then export UV_DEFAULT_INDEX="$index"; fi
    fi
    if [ -z "${SSL_CERT_FILE:-}" ]; then
        bundle=${PIP_CERT:-$(pip_setting "$1" cert)}
        if [ -n "$bundle" ]; then export SSL_CERT_FILE="$bundle"; fi
    fi
}
