//! What is mistyped is refused, and the message names it and the way out.

use crate::common::{Desk, TINY};

#[test]
fn a_mistyped_model_suggests_the_near_one() {
    let desk = Desk::new();
    for command in ["bench --random-weights --model", "info"] {
        desk.run(&format!("{command} vit_tinny_patch16_224"))
            .fails(&["vit_tinny_patch16_224", "did you mean vit_tiny_patch16_224?"]);
        desk.run(&format!("{command} resnet50")).fails(&["resnet50", "tokmerge models"]);
        desk.run(&format!("{command} deit_base_patch16_24.fb_in1k"))
            .fails(&["did you mean deit_base_patch16_224?"]);
    }
}

#[test]
fn specs_name_option_value_and_what_is_allowed() {
    let desk = Desk::new();
    for (spec, fragments) in [
        ("tome:r=8,featur=k", ["no option 'featur'", "did you mean feature?", "its options: r, inflect"]),
        ("tomme:r=8", ["'tomme'", "did you mean tome?", "known methods: none, tome"]),
        ("sparsify:r=8", ["'sparsify'", "known methods", "none, tome"]),
        ("none:r=8", ["none has no option 'r'", "its options", "none"]),
        ("tome:r=eight", ["r=eight", "r takes a whole number", "[16,16,8]"]),
        ("tome:r=-1", ["r=-1", "r takes a whole number", "0"]),
        ("tome:r=8,feature=kk", ["feature=kk", "feature takes", "k, q, v, x, x_pre"]),
        ("tome:r=8,inflect=2", ["inflect=2", "inflect takes", "-1"]),
        ("tome:r=8,r=9", ["'r'", "twice", "tome:r=8"]),
        ("tome:r", ["'r'", "option=value", "tome:r=8"]),
        ("tome", ["tome needs r", "e.g.", "tome:r=8"]),
        ("tome:", ["nothing follows", "write name", "tome:r=8"]),
        ("tome:r=[1,2", ["not closed", "write name", "tome:r=8"]),
    ] {
        desk.run(&format!("bench {TINY} --merge {spec}")).fails(&fragments);
        desk.run(&format!("info vit_tiny_patch16_224 --merge {spec}")).fails(&fragments);
    }
}

#[test]
fn a_schedule_that_does_not_fit_the_model_is_refused() {
    let desk = Desk::new();
    desk.write("folder/class/image.txt", "");
    desk.draw("a.png", 8, 8);
    let longer = format!("tome:r=[{}]", ["1"; 13].join(","));
    for command in [
        "info vit_tiny_patch16_224".to_owned(),
        format!("bench {TINY} --duration 0.1"),
        format!("classify a.png {TINY}"),
        format!("eval . {TINY}"),
        format!("viz a.png {TINY} -o a.svg"),
    ] {
        desk.run(&format!("{command} --merge tome:r=500")).fails(&["500", "197", "r must be below"]);
        desk.run(&format!("{command} --merge {longer}")).fails(&["13 layers", "the model has 12"]);
    }
    assert!(!desk.path("a.svg").exists());
}

#[test]
fn values_outside_their_range_are_refused() {
    let desk = Desk::new();
    let bench = format!("bench {TINY}");
    desk.run(&format!("{bench} --batch-size 0")).misused(&["--batch-size", "'0'", "from 1 to 65536"]);
    desk.run(&format!("{bench} --batch-size 9999999999")).misused(&["--batch-size", "from 1 to 65536"]);
    desk.run(&format!("{bench} --batch-size many")).misused(&["--batch-size", "'many'", "from 1"]);
    desk.run(&format!("{bench} --threads 0")).misused(&["--threads", "'0'", "from 1 to 1024"]);
    // Once an abort with a panic's text.
    desk.run(&format!("{bench} --threads 100000")).misused(&["--threads", "from 1 to 1024"]);
    desk.run(&format!("{bench} --threads 1024 --pin")).fails(&[
        "1024 threads",
        "core of its own",
        "leave them free",
    ]);
    desk.run(&format!("{bench} --duration 0")).misused(&["--duration", "above 0"]);
    desk.run(&format!("{bench} --duration nan")).misused(&["--duration", "above 0"]);
    desk.run(&format!("{bench} --dtype f64")).misused(&["--dtype", "f64", "f32, bf16, int8"]);
    desk.run(&format!("{bench} --device cuda")).misused(&["--device", "cuda", "cpu"]);
    desk.run(&format!("{bench} --convention flops")).misused(&["--convention", "flops", "fvcore, macs"]);
    desk.run(&format!("{bench} --img-size 0")).misused(&["--img-size", "'0'", "224x320"]);
    desk.run(&format!("{bench} --img-size 15")).fails(&["15x15", "16x16"]);
    desk.run("info vit_tiny_patch16_224 --img-size 224x15").fails(&["224x15", "16x16"]);
    // Rows and columns that fill no patch are left out, as a convolution does.
    desk.run("info vit_tiny_patch16_224 --img-size 224x239").ok();
    let classify = format!("classify a.png {TINY}");
    desk.run(&format!("{classify} --topk 0")).misused(&["--topk", "at least 1"]);
    desk.run(&format!("{classify} --crop-pct 0")).misused(&["--crop-pct", "above 0"]);
    desk.run(&format!("{classify} --crop-mode middle"))
        .misused(&["--crop-mode", "center, squash, border or shortest"]);
    desk.run(&format!("{classify} --interpolation cubic")).misused(&["--interpolation", "bicubic, bilinear"]);
    desk.run(&format!("{classify} --mean 0.5")).misused(&["--mean", "3 values"]);
    desk.run(&format!("{classify} --std 0.5 0 0.5")).fails(&["std", "above 0"]);
    desk.run(&format!("{classify} --mean nan 0 0")).fails(&["mean", "finite"]);
}

#[test]
fn mistyped_flags_and_commands_suggest_the_near_one() {
    let desk = Desk::new();
    desk.run(&format!("bench {TINY} --merg none")).misused(&["--merg", "'--merge'"]);
    desk.run(&format!("bench {TINY} --batchsize 2")).misused(&["--batchsize", "'--batch-size'"]);
    desk.run(&format!("eval . {TINY} --result-file a.csv")).misused(&["--result-file", "'--results-file'"]);
    desk.run("classfy a.png").misused(&["classfy", "'classify'"]);
    desk.run("bench --random-weights").misused(&["required", "--model"]);
    desk.run(&format!("classify {TINY}")).misused(&["required", "<FILE>"]);
    desk.run("info").misused(&["required", "<MODEL>"]);
    desk.run("viz a.png --model vit_tiny_patch16_224").misused(&["required", "--merge", "--output"]);
}

#[test]
fn an_unknown_instruction_set_is_refused_by_every_command() {
    let desk = Desk::new().with("TOKMERGE_ISA", "nonsense");
    for command in [format!("bench {TINY}"), "info vit_tiny_patch16_224".to_owned(), "models".to_owned()] {
        desk.run(&command).fails(&["TOKMERGE_ISA", "nonsense", "portable"]);
    }
}

#[test]
fn the_portable_instruction_set_runs() {
    let desk = Desk::new().with("TOKMERGE_ISA", "portable");
    let result = desk.run(&format!("bench {TINY} --batch-size 1 --duration 0.05 --merge none --json")).ok();
    assert_eq!(result.one_json()["isa"], "portable");
}

#[test]
fn files_that_are_not_there_are_named() {
    let desk = Desk::new();
    desk.draw("a.png", 8, 8);
    desk.run(&format!("eval nowhere {TINY}")).fails(&["nowhere", "no such file or folder"]);
    desk.run(&format!("eval a.png {TINY}")).fails(&["a.png", "is a file"]);
    desk.run(&format!("classify nowhere.png {TINY}")).fails(&["nowhere.png", "No such file"]);
    desk.run(&format!("viz nowhere.png {TINY} --merge tome:r=8 -o b.png"))
        .fails(&["nowhere.png", "No such file"]);
    desk.run(&format!("classify a.png {TINY} --labels nowhere.tsv")).fails(&[
        "nowhere.tsv",
        "No such file",
        "check the path",
    ]);
    desk.run("bench --model vit_tiny_patch16_224 --weights nowhere.safetensors")
        .fails(&["nowhere.safetensors", "No such file"]);
    desk.run("bench --model local-dir:nowhere").fails(&["nowhere", "No such file"]);
    desk.run("bench --model local-dir:").fails(&["local-dir:", "needs a path"]);
}

#[test]
fn a_wrong_routing_says_what_would_be_right() {
    let desk = Desk::new();
    let bench = "bench --random-weights --duration 0.1 --batch-size 1 --model";
    desk.run(&format!("{bench} vmoe_small_patch32_e8_224 --routing capacity=1.05,group=0"))
        .misused(&["group is 0", "e.g. capacity=1.05,group=8"]);
    desk.run(&format!("{bench} vit_tiny_patch16_224 --routing capacity=1.05"))
        .fails(&["vit_tiny_patch16_224 has no experts", "leave the routing out"]);
    desk.run("info vmoe_base_patch16_last7_224").fails(&["vmoe_base_patch16_last7_224", "tokmerge models"]);
}
