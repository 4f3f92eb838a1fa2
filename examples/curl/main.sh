#!/bin/sh
# curl through Gatehouse: a handle in each position where a token may stand.
#
# Environment: GATEHOUSE_URL, X_HANDLE, META_HANDLE, CURL_CA_BUNDLE (the local
# CA's file). LOGOUT=1 also ends the X grant; REPORT=1 leaves out what only enforce
# mode refuses.
set -eu

say() { printf '%s\n' "$*"; }
call() { curl --silent --show-error --fail-with-body --max-time 20 "$@"; }

# X: the Authorization header.
call -H "Authorization: Bearer $X_HANDLE" "$GATEHOUSE_URL/x/2/users/me" | grep -q '"username"'
say "me: ok"
call -H "Authorization: Bearer $X_HANDLE" -H 'Content-Type: application/json' \
	-d '{"text":"curl through Gatehouse 🚪"}' "$GATEHOUSE_URL/x/2/tweets" | grep -q '"id"'
say "post: ok"
call -H "Authorization: Bearer $X_HANDLE" "$GATEHOUSE_URL/x/2/tweets/search/recent?query=gatehouse" | grep -q '"result_count"'
say "search: ok"

# Meta: the query, a form, and a batch. The paging link leads back to Gatehouse.
call "$GATEHOUSE_URL/meta/v25.0/me?fields=id,name&access_token=$META_HANDLE" | grep -q '"name"'
say "meta me: ok"
pages=$(call -H "Authorization: Bearer $META_HANDLE" "$GATEHOUSE_URL/meta/v25.0/me/accounts?limit=1&fields=id,name,access_token")
printf '%s' "$pages" | grep -q 'gth_hnd_'
next=$(printf '%s' "$pages" | sed -n 's/.*"next":"\([^"]*\)".*/\1/p' | sed 's#\\/#/#g')
case $next in
"$GATEHOUSE_URL"/*) say "paging: leads back to Gatehouse" ;;
*) say "paging: unexpected link $next" >&2; exit 1 ;;
esac
call -H "Authorization: Bearer $META_HANDLE" "$next" >/dev/null
call -F "access_token=$META_HANDLE" -F 'batch=[{"method":"GET","relative_url":"me?fields=id"},{"method":"GET","relative_url":"me/accounts?fields=id"}]' \
	"$GATEHOUSE_URL/meta/v25.0/" | grep -q '"code": *200'
say "batch: ok"

# What the purpose does not declare is refused, with a reason.
if [ "${REPORT:-}" != 1 ]; then
	refused=$(curl --silent --max-time 20 -X DELETE -H "Authorization: Bearer $X_HANDLE" "$GATEHOUSE_URL/x/2/lists/1")
	printf '%s' "$refused" | grep -q '"rule"'
	say "undeclared call: refused"
fi

if [ "${LOGOUT:-}" = 1 ]; then
	call -d "token=$X_HANDLE" -d client_id=gatehouse "$GATEHOUSE_URL/x/2/oauth2/revoke" | grep -q revoked
	status=$(curl --silent --max-time 20 -o /dev/null -w '%{http_code}' -H "Authorization: Bearer $X_HANDLE" "$GATEHOUSE_URL/x/2/users/me")
	[ "$status" = 401 ]
	say "logout: revoked"
fi
