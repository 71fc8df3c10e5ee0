# What CI runs and what you run: `just` lists it.

material := "../shared/material"
tokmerge := env("CARGO_TARGET_DIR", "target") / "release/tokmerge"

# List the recipes
default:
    @just --list

# Formatting, lints and documentation, all without warnings
check:
    cargo fmt --all --check
    cargo clippy --release --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --release --workspace --no-deps

# Every test
test:
    cargo test --release --workspace

# The kernels' plain Rust, gradients and thread team under Miri, some minutes; once: rustup +nightly component add miri rust-src
miri:
    RUST_BACKTRACE=0 MIRIFLAGS="-Zmiri-disable-isolation -Zmiri-ignore-leaks" CARGO_TARGET_DIR=target/miri-kernels cargo +nightly miri test -p tokmerge-kernels --lib --test suite -- lengths:: random_shapes::

# Look for input that a reader cannot stand, with libFuzzer; `just fuzz image 10`, targets are in fuzz/Cargo.toml; once:
# rustup toolchain install nightly --profile minimal && cargo install cargo-fuzz
fuzz target minutes:
    cargo build --release --workspace --example seeds
    {{env("CARGO_TARGET_DIR", "target") / "release/examples/seeds"}} {{target}} fuzz/corpus/{{target}}
    cp Cargo.lock fuzz/Cargo.lock
    cargo +nightly fuzz run {{target}} -- -max_total_time=$(({{minutes}} * 60)) -max_len=65536 -timeout=1 -rss_limit_mb=2048

# The same without libFuzzer, on damaged seeds: `just hostile image 1000000`; a case can be repeated from its number
hostile target count:
    cargo build --release --workspace --example hostile
    {{env("CARGO_TARGET_DIR", "target") / "release/examples/hostile"}} {{target}} 0 {{count}}

# Kernels one by one, then a whole model with and without merging
bench: build
    cargo bench --workspace --bench kernels
    cargo bench --workspace --bench roofline
    {{tokmerge}} bench --model vit_small_patch16_224 --random-weights --merge none --merge tome:r=13 --batch-size 8

# How speed and memory grow with threads, batch, tokens and merging: charts and CSV files in docs
scaling: build
    cargo build --release --workspace --example scaling
    {{env("CARGO_TARGET_DIR", "target") / "release/examples/scaling"}} {{tokmerge}} docs

# The tables against OpenVINO and PyTorch, measured on this machine; needs Python and fetches the two
compare: build
    test -d .venv || python3 -m venv .venv
    .venv/bin/pip install --quiet torch timm onnx onnxscript openvino numpy
    .venv/bin/python tools/compare.py --tokmerge {{tokmerge}} | tee comparison.md

# The API documentation, opened in a browser
docs:
    cargo doc --release --workspace --no-deps --open

# Accuracy of a real ViT-Ti on 1000 real images; PyTorch gives 83.1, 81.9 and 80.4 % top-1
eval-real: build
    {{tokmerge}} eval {{material}}/imagenet1k_sample --model vit_tiny_patch16_224 --weights {{material}}/vit_tiny_augreg/vit_tiny_patch16_224_augreg_in21k_ft_in1k.safetensors --crop-pct 1.0 --merge none --merge tome:r=8 --merge tome:r=13

# Train the model that comes with tokmerge anew, and compare it with the one that is there
train-demo: build
    {{tokmerge}} scenes runs/scenes --images 2400
    {{tokmerge}} train recipes/demo.toml -o runs/demo --set data.val=runs/scenes
    {{tokmerge}} eval runs/scenes --model local-dir:runs/demo --merge none --merge tome:r=8 --merge tome:r=12
    {{tokmerge}} eval runs/scenes --model demo --merge none --merge tome:r=8 --merge tome:r=12

# Train methods with weights on the same pictures, as recipes/study-learned.txt lists them: places and numbers of
# tokens for PatchMerger (its section 4.1), soft token merging with its baselines, TokenLearner
study-learned: build
    {{tokmerge}} scenes runs/scenes --images 2400
    grep -v '^#' recipes/study-learned.txt | while read spec; do \
        resume=$(test -d "runs/$spec/checkpoints" && echo --resume); \
        {{tokmerge}} train recipes/demo.toml -o "runs/$spec" $resume --set data.val=runs/scenes --set "merge=$spec" --set "train.validate=[\"$spec\"]" || exit 1; \
    done

[private]
build:
    cargo build --release --workspace
