#!/bin/sh
# Builds what the benchmark needs that is written in Go, with the pinned Go: tools.sh DIRECTORY [vegeta] [k6]. The Go
# peer is always built.
set -eu

go_version=go1.26.8
vegeta=github.com/tsenart/vegeta/v12@v12.13.0
k6=go.k6.io/k6@v1.8.1

here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
directory=$(cd "$1" && pwd)
shift

# Any Go since 1.21 fetches the pinned one by itself. An older one, as Debian 12 has, can download it as a module.
fetch_go() {
    platform=$(go env GOOS)-$(go env GOARCH)
    if [ ! -x "$directory/$go_version/bin/go" ]; then
        echo "tools: fetching $go_version"
        module=$(cd / && go mod download -json "golang.org/toolchain@v0.0.1-$go_version.$platform" |
            sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
        rm -rf "$directory/$go_version"
        cp -r "$module" "$directory/$go_version.new"
        chmod -R u+w "$directory/$go_version.new"
        chmod +x "$directory/$go_version.new"/bin/* "$directory/$go_version.new"/pkg/tool/*/*
        mv "$directory/$go_version.new" "$directory/$go_version"
    fi
    PATH=$directory/$go_version/bin:$PATH
    unset GOROOT
}

command -v go >/dev/null || "$here/../../conf/dev/deps.sh" golang-go
case $(go version) in
*" go1."[0-9].* | *" go1."[0-9]" "* | *" go1.1"[0-9]* | *" go1.20"*)
    fetch_go
    ;;
esac
export GOTOOLCHAIN=$go_version GOFLAGS=-buildvcs=false CGO_ENABLED=0

version_of() { # what is in the directory already, as module@version
    go version -m "$directory/$1" 2>/dev/null | awk '$1 == "mod" { print $2 "@" $3 }'
}

(cd "$here/peers/go" && go build -trimpath -o "$directory/users-api-go" .)
for tool in "$@"; do
    case $tool in
    vegeta) wanted=$vegeta ;;
    k6) wanted=$k6 ;;
    *) echo "tools: no tool is called $tool" >&2 && exit 2 ;;
    esac
    if [ "$(version_of "$tool")" != "$wanted" ]; then
        echo "tools: building $wanted"
        GOBIN=$directory go install -trimpath "$wanted"
    fi
done
