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

# Kernels one by one, then a whole model with and without merging
bench: build
    cargo bench --workspace --bench kernels
    cargo bench --workspace --bench roofline
    {{tokmerge}} bench --model vit_small_patch16_224 --random-weights --merge none --merge tome:r=13 --batch-size 8

# The API documentation, opened in a browser
docs:
    cargo doc --release --workspace --no-deps --open

# Accuracy of a real ViT-Ti on 1000 real images; PyTorch gives 83.1, 81.9 and 80.4 % top-1
eval-real: build
    {{tokmerge}} eval {{material}}/imagenet1k_sample --model vit_tiny_patch16_224 --weights {{material}}/vit_tiny_augreg/vit_tiny_patch16_224_augreg_in21k_ft_in1k.safetensors --crop-pct 1.0 --merge none --merge tome:r=8 --merge tome:r=13

[private]
build:
    cargo build --release --workspace
