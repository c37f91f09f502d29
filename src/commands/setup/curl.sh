# curl: the token goes through a pipe, so it never shows up in `ps`. If there is
# no token, nothing is sent.
{ {{call}} token --verify --timeout 8s --format curl && printf '%s\n' 'url = "{{url}}"'; } | curl -f -K -
