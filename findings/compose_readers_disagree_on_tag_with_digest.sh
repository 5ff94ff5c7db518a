#!/usr/bin/env bash
# Readers of compose files disagree on an image that is named by a tag and a digest together.
#
# `name:tag@sha256:...` is how Docker's own documentation pins an image: the digest decides, the tag tells a reader what
# it is. Docker's grammar of references allows both, and so does the schema of the compose specification, which takes any
# string. The crate compose_spec refuses the pair with an error of its own, while it takes each of the two alone.
#
# Why it matters here: the compose file names its images by both, and the tests read it with this crate. They leave the
# digest out before they parse, and check the digests apart.
set -euo pipefail
COMPOSE_SPEC=0.3.0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cargo init --quiet --name images --vcs none .
cargo add --quiet "compose_spec@=$COMPOSE_SPEC"

cat >src/main.rs <<'RS'
use compose_spec::Compose;

fn main() {
    let digest = format!("sha256:{}", "ab".repeat(32));
    for (what, image) in [
        ("tag", "redis:7".to_owned()),
        ("digest", format!("redis@{digest}")),
        ("tag and digest", format!("redis:7@{digest}")),
    ] {
        let text = format!("services:\n  redis:\n    image: {image}\n");
        match Compose::options().from_yaml_str(&text) {
            Ok(_) => println!("{what}: read"),
            Err(error) => println!("{what}: {error}"),
        }
    }
}
RS

echo "compose_spec $COMPOSE_SPEC:"
seen=$(cargo run --quiet)
printf '%s\n' "$seen"

# Seen on 2026-11-30.
expected='tag: read
digest: read
tag and digest: services.redis.image: image cannot have a tag and a digest at line 3 column 12'
if [ "$seen" != "$expected" ]; then
    echo "this changed"
    exit 1
fi
