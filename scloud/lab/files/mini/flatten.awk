# Flattens the YAML (block or flow style, JSON included) of a NoCloud seed into lines
# "path<TAB>value": mapping keys and list positions joined by "/", backslash and newline
# in values escaped. Anchors, tags and several documents are not understood.
# With -v PREFIX=x it prints assignments for the shell instead: x_PATH is a value, x_PATH_K the
# keys below a path (written as in variable names), x_PATH_N a key as it was in the seed.
{ L[++N] = $0 }
END {
    I = 1
    skip()
    if (I <= N) {
        if (starts(body(L[I]), "[{")) value("", body(L[I]), -1, 1); else block("", 0)
    }
    for (name in KEYS) print name "_K=" quote(substr(KEYS[name], 2))
}
# Whether a text begins with one of these characters. (No bracket goes into a regular
# expression here: busybox does not read them as POSIX does.)
function starts(text, characters) { return text != "" && index(characters, substr(text, 1, 1)) > 0 }
function join(path, key) { return path == "" ? key : path "/" key }
function emit(path, text) {
    if (PREFIX != "") { assign(path, text); return }
    gsub(/\\/, "\\\\", text); gsub(/\n/, "\\n", text)
    print path "\t" text
}
function assign(path, text,   parts, n, k, name, key) {
    n = split(path, parts, "/")
    name = PREFIX
    for (k = 1; k <= n; k++) {
        key = parts[k]
        gsub(/[^A-Za-z0-9]/, "_", key)
        if (!((name, key) in SEEN)) {
            SEEN[name, key] = 1
            KEYS[name] = KEYS[name] " " key
            print name "_" key "_N=" quote(parts[k])
        }
        name = name "_" key
    }
    print name "=" quote(text)
}
function quote(text) { gsub(/'/, "'\\''", text); return "'" text "'" }
function indent_of(line) { match(line, /^ */); return RLENGTH }
function body(line) { sub(/^ */, "", line); sub(/[ \t\r]+$/, "", line); return line }
function skip() { while (I <= N && (body(L[I]) == "" || body(L[I]) ~ /^#/ || body(L[I]) ~ /^---/)) I++ }
function is_key(text) {
    if (starts(text, "[]{}")) return 0
    return text ~ /^"[^"]*" *:( |$)/ || text ~ /^'[^']*' *:( |$)/ || text ~ /^[^ "'#|>&*!%@`-][^#]*:( |$)/ || text ~ /^-[^ ][^#]*:( |$)/
}
function spaces(count,   text) { text = ""; while (count-- > 0) text = text " "; return text }
function plain(text) {
    sub(/[ \t]+#.*$/, "", text); sub(/[ \t]+$/, "", text)
    return (text == "~" || text == "null") ? "" : text
}
function block(path, least,   ind, text, n, rest, key, width) {
    skip()
    if (I > N) return
    ind = indent_of(L[I])
    if (ind < least) return
    n = 0
    while (I <= N) {
        skip()
        if (I > N || indent_of(L[I]) != ind) return
        text = body(L[I])
        if (text == "-" || text ~ /^- /) {
            rest = text; sub(/^- */, "", rest)
            width = length(text) - length(rest)
            if (rest == "" || rest ~ /^#/) { I++; block(join(path, n++), ind + 1) }
            else if (is_key(rest) || rest ~ /^- /) {
                L[I] = spaces(ind + width) rest
                block(join(path, n++), ind + width)
            } else value(join(path, n++), rest, ind, 1)
        } else if (is_key(text)) {
            if (text ~ /^"/) { match(text, /^"[^"]*"/); key = substr(text, 2, RLENGTH - 2) }
            else if (text ~ /^'/) { match(text, /^'[^']*'/); key = substr(text, 2, RLENGTH - 2) }
            else { match(text, /:( |$)/); key = substr(text, 1, RSTART - 1); RLENGTH = RSTART - 1 }
            rest = substr(text, RLENGTH + 1); sub(/^ *: */, "", rest)
            if (rest == "" || rest ~ /^#/) {
                I++; skip()
                if (I <= N && indent_of(L[I]) > ind) block(join(path, key), ind + 1)
                else if (I <= N && indent_of(L[I]) == ind && body(L[I]) ~ /^-( |$)/) sequence(join(path, key), ind)
                else emit(join(path, key), "")
            } else value(join(path, key), rest, ind, 0)
        } else { I++ }
    }
}
# A list written at the indentation of its key.
function sequence(path, ind,   start, line) {
    start = I
    while (I <= N) {
        line = body(L[I])
        if (line != "" && (indent_of(L[I]) < ind || (indent_of(L[I]) == ind && line !~ /^-( |$)/))) break
        I++
    }
    line = I
    I = start
    OLD = N; N = line - 1
    ENDS[++DEPTH] = OLD
    block(path, ind)
    N = ENDS[DEPTH--]
    I = line
}
function value(path, text, ind, in_list,   style, low, part, out, quote) {
    I++
    if (text ~ /^[|>][+0-9-]*$/) {
        style = substr(text, 1, 1); out = ""; low = -1
        while (I <= N && (body(L[I]) == "" || indent_of(L[I]) > ind)) {
            if (low < 0 && body(L[I]) != "") low = indent_of(L[I])
            part = substr(L[I], low + 1)
            out = out part (style == "|" ? "\n" : " ")
            I++
        }
        if (text ~ /-/) sub(/[\n ]+$/, "", out); else sub(/[\n ]+$/, "\n", out)
        emit(path, out)
        return
    }
    if (starts(text, "[{\"'")) {
        S = text
        while (!complete(S) && I <= N) S = S "\n" L[I++]
        P = 1
        flow(path)
        return
    }
    while (I <= N && body(L[I]) != "" && indent_of(L[I]) > ind) text = plain(text) " " body(L[I++])
    emit(path, plain(text))
}
function complete(text,   k, c, depth, quote) {
    depth = 0; quote = ""
    for (k = 1; k <= length(text); k++) {
        c = substr(text, k, 1)
        if (quote == "\"" && c == "\\") k++
        else if (quote != "") { if (c == quote) quote = "" }
        else if (c == "\"" || c == "'") quote = c
        else if (starts(c, "[{")) depth++
        else if (c == "]" || c == "}") depth--
    }
    return depth <= 0 && quote == ""
}
function blanks() { while (P <= length(S) && substr(S, P, 1) ~ /[ \t\r\n]/) P++ }
function quoted(   c, q, out, e) {
    q = substr(S, P++, 1); out = ""
    while (P <= length(S)) {
        c = substr(S, P++, 1)
        if (q == "'" && c == "'") { if (substr(S, P, 1) == "'") { out = out "'"; P++ } else return out }
        else if (q == "\"" && c == "\"") return out
        else if (q == "\"" && c == "\\") {
            e = substr(S, P++, 1)
            if (e == "n") out = out "\n"
            else if (e == "t") out = out "\t"
            else if (e == "r") out = out "\r"
            else if (e == "\n") { while (substr(S, P, 1) ~ /[ \t]/) P++ }
            else if (e == "u") { out = out utf8(hex(substr(S, P, 4))); P += 4 }
            else out = out e
        } else if (c == "\n") {
            sub(/[ \t]+$/, "", out)
            e = 0
            while (substr(S, P, 1) ~ /[ \t\n]/) { if (substr(S, P, 1) == "\n") { out = out "\n"; e = 1 } P++ }
            if (!e) out = out " "
        } else out = out c
    }
    return out
}
function utf8(code) {
    if (code < 128) return sprintf("%c", code)
    if (code < 2048) return sprintf("%c%c", 192 + int(code / 64), 128 + code % 64)
    return sprintf("%c%c%c", 224 + int(code / 4096), 128 + int(code / 64) % 64, 128 + code % 64)
}
function hex(text,   k, n) {
    n = 0; text = tolower(text)
    for (k = 1; k <= length(text); k++) n = n * 16 + index("0123456789abcdef", substr(text, k, 1)) - 1
    return n
}
function flow(path,   c, n, key, start, text) {
    blanks()
    c = substr(S, P, 1)
    if (c == "{") {
        P++
        while (1) {
            blanks(); c = substr(S, P, 1)
            if (c == "}" || c == "") { P++; return }
            if (c == ",") { P++; continue }
            if (c ~ /["']/) key = quoted()
            else { start = P; while (P <= length(S) && substr(S, P, 1) != ":") P++; key = substr(S, start, P - start) }
            blanks(); if (substr(S, P, 1) == ":") P++
            flow(join(path, key))
        }
    } else if (c == "[") {
        P++; n = 0
        while (1) {
            blanks(); c = substr(S, P, 1)
            if (c == "]" || c == "") { P++; return }
            if (c == ",") { P++; continue }
            flow(join(path, n++))
        }
    } else if (c ~ /["']/) emit(path, quoted())
    else {
        start = P
        while (P <= length(S) && !index(",}]", substr(S, P, 1))) P++
        text = substr(S, start, P - start)
        gsub(/[ \t\r]*\n[ \t]*/, " ", text)
        emit(path, plain(text))
    }
}
