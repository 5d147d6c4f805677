# Splits a MIME message (RFC 2046) with several parts: the body of each goes to DIR/part.NUMBER, and
# "NUMBER TYPE ENCODING" is printed for it. Parts within parts are not understood.
{ sub(/\r$/, "") }
!boundary && $0 != "" {
    # The header of the whole; a long one goes on in the next line.
    head = head " " $0
    next
}
!boundary {
    at = index(tolower(head), "boundary=")
    if (!at) exit
    boundary = substr(head, at + 9)
    if (substr(boundary, 1, 1) == "\"") { boundary = substr(boundary, 2); sub(/".*/, "", boundary) }
    else sub(/[ ;].*/, "", boundary)
    next
}
$0 == "--" boundary || $0 == "--" boundary "--" {
    if (file != "") close(file)
    if ($0 != "--" boundary) exit
    file = DIR "/part." ++number
    printf "" > file
    type = "text/plain"; encoding = "7bit"; heading = 1
    next
}
file == "" { next }
heading && $0 == "" { heading = 0; print number, type, encoding; next }
heading {
    line = tolower($0)
    if (line ~ /^content-type:/) { type = line; sub(/^content-type:[ ]*/, "", type); sub(/[ ;].*/, "", type) }
    if (line ~ /^content-transfer-encoding:/) { encoding = line; sub(/^[^:]*:[ ]*/, "", encoding) }
    next
}
{ print > file }
