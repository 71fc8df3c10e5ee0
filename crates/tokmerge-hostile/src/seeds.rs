//! Inputs to begin with: the fixtures of the other crates, and a few of each form written by hand.

use std::path::{Path, PathBuf};
use tokmerge_checkpoint::Checkpoint;

/// Larger files cost time and show nothing more.
const LARGEST: usize = 16 << 10;

/// A place in the repository.
fn place(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// The files below a folder that end so, in the order of their names.
fn files(folder: &str, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![place(folder)];
    while let Some(folder) = pending.pop() {
        let entries =
            std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let path = entry.expect("a readable folder").path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if path.is_dir() {
                pending.push(path);
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// What those files hold.
fn contents(folder: &str, endings: &[&str]) -> Vec<Vec<u8>> {
    let read =
        |path: PathBuf| std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    files(folder, endings).into_iter().map(read).filter(|bytes| bytes.len() <= LARGEST).collect()
}

fn bytes<const N: usize>(texts: [&str; N]) -> impl Iterator<Item = Vec<u8>> {
    texts.into_iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>().into_iter()
}

pub(crate) fn images() -> Vec<Vec<u8>> {
    const BEGINNINGS: [&[u8]; 4] = [b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"BM"];
    let fixture =
        Checkpoint::open(place("crates/tokmerge-data/fixtures/decode.safetensors")).expect("a fixture");
    let files =
        fixture.tensors().filter(|tensor| tensor.name.ends_with(".file")).map(|tensor| tensor.bytes());
    let images = files.filter(|file| BEGINNINGS.iter().any(|beginning| file.starts_with(beginning)));
    images.filter(|file| file.len() <= LARGEST / 4).map(<[u8]>::to_vec).collect()
}

pub(crate) fn safetensors() -> Vec<Vec<u8>> {
    let file = |header: &str, data: usize| {
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0x3f; data]].concat()
    };
    let mut seeds = vec![
        file(
            r#"{"__metadata__":{"format":"pt"},"blocks.0.attn.qkv.weight":{"dtype":"F32","shape":[6,2],"data_offsets":[0,48]},"blocks.0.attn.qkv.bias":{"dtype":"BF16","shape":[6],"data_offsets":[48,60]}}"#,
            60,
        ),
        file(r#"{"a":{"dtype":"I64","shape":[],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[0,3],"data_offsets":[8,8]}}  "#, 8),
        file("{}", 0),
        br#"{"metadata":{"total_size":96},"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}"#
            .to_vec(),
    ];
    seeds.extend(contents("crates/tokmerge-models/fixtures/folders", &[".safetensors"]));
    seeds
}

pub(crate) fn sounds() -> Vec<Vec<u8>> {
    contents("crates/tokmerge-data/fixtures/sound", &[".wav", ".flac", ".mp3", ".ogg"])
}

pub(crate) fn pytorch() -> Vec<Vec<u8>> {
    contents("crates/tokmerge-checkpoint/fixtures", &[".pth", ".pt", ".bin", ".index.json"])
}

pub(crate) fn pickles() -> Vec<Vec<u8>> {
    let archives = pytorch();
    archives.iter().filter_map(|file| crate::zip::contents(file, "data.pkl")).map(<[u8]>::to_vec).collect()
}

pub(crate) fn configs() -> Vec<Vec<u8>> {
    let by_hand = bytes([
        r#"{"architecture":"vit_tiny_patch16_224","num_classes":1000,"num_features":192,"global_pool":"token","pretrained_cfg":{"tag":"augreg_in21k_ft_in1k","input_size":[3,224,224],"test_input_size":null,"mean":[0.5,0.5,0.5],"std":[0.5,0.5,0.5],"interpolation":"bicubic","crop_pct":0.9,"crop_mode":"center"},"model_args":{"img_size":64,"depth":2}}"#,
        r#"{"architecture":"vit_small_patch14_reg4_dinov2","num_classes":2,"label_names":["a","b"],"input_size":[3,28,42],"model_args":{"img_size":[28,42],"embed_dim":48,"depth":1,"num_heads":3,"mlp_ratio":2.5,"init_values":1e-5,"qkv_bias":false,"reg_tokens":4,"act_layer":"gelu_tanh","class_token":true}}"#,
        r#"{"architecture":"beit_base_patch16_224","num_classes":10,"pretrained_cfg":{"input_size":[3,32,32]},"model_args":{"img_size":32,"embed_dim":24,"depth":1,"num_heads":2}}"#,
        r#"{"architecture":"eva02_tiny_patch14_224","num_classes":3,"pretrained_cfg":{"input_size":[3,28,28]},"model_args":{"img_size":28,"embed_dim":24,"depth":1,"num_heads":2}}"#,
        r#"{"architecture":"vit_tiny_patch16_384","num_classes":1,"label_names":{"0":"one"}}"#,
        r#"{"model_type":"vit","architectures":["ViTForImageClassification"],"hidden_size":24,"image_size":[32,48],"intermediate_size":40,"layer_norm_eps":1e-12,"num_attention_heads":3,"num_channels":3,"num_hidden_layers":2,"patch_size":8,"hidden_act":"gelu","id2label":{"0":"a","1":"b","2":"c"},"label2id":{"a":0,"b":1,"c":2}}"#,
        r#"{"model_type":"clip","architectures":["CLIPModel"],"projection_dim":16,"vision_config":{"hidden_size":24,"image_size":32,"patch_size":8,"num_hidden_layers":1,"num_attention_heads":2,"intermediate_size":48,"hidden_act":"quick_gelu"},"text_config":{}}"#,
        r#"{"model_type":"bert","hidden_size":768}"#,
        r#"{"model_type":"audio-spectrogram-transformer","architectures":["ASTForAudioClassification"],"hidden_size":24,"num_hidden_layers":1,"num_attention_heads":2,"intermediate_size":48,"patch_size":8,"frequency_stride":5,"time_stride":5,"max_length":32,"num_mel_bins":16,"id2label":{"0":"a","1":"b"}}"#,
        r#"{"model_type":"videomae","architectures":["VideoMAEForVideoClassification"],"hidden_size":24,"num_hidden_layers":1,"num_attention_heads":2,"intermediate_size":48,"image_size":16,"patch_size":8,"num_frames":4,"tubelet_size":2,"use_mean_pooling":true,"qv_bias":true,"id2label":{"0":"a","1":"b"}}"#,
        r#"{"architecture":"st_vit_base_patch16_224","num_classes":3,"model_args":{"img_size":[16,16],"patch_size":8,"embed_dim":24,"depth":1,"num_heads":3,"num_frames":4},"pretrained_cfg":{"sampling":{"stride":2,"fps":15}}}"#,
        r#"{"architecture":"kwt_1","num_classes":12,"model_args":{"embed_dim":24,"depth":1,"num_heads":2}}"#,
        r#"{"model_cfg":{"embed_dim":16,"quick_gelu":true,"vision_cfg":{"image_size":32,"layers":2,"width":24,"head_width":8,"patch_size":8,"norm_kwargs":{"eps":1e-6},"act_kwargs":{"approximate":"tanh"}},"text_cfg":{}},"preprocess_cfg":{"mean":[0.5,0.5,0.5],"std":[0.5,0.5,0.5],"interpolation":"bicubic","resize_mode":"shortest"}}"#,
        r#"{"model_cfg":{"embed_dim":192,"vision_cfg":{"timm_model_name":"vit_tiny_patch16_224","timm_pool":"","timm_proj":"linear","image_size":224}}}"#,
    ]);
    by_hand
        .chain(contents("crates/tokmerge-models/fixtures/folders", &["/config.json", "config.json"]))
        .collect()
}

pub(crate) fn preprocessors() -> Vec<Vec<u8>> {
    let by_hand = bytes([
        r#"{"input_size":[3,224,196],"interpolation":"bicubic","crop_pct":0.9,"crop_mode":"border","mean":[0.5,0.5,0.5],"std":[0.5,0.5,0.5],"crop_rounding":"down","fill":[1,2,3]}"#,
        r#"{"image_processor_type":"CLIPImageProcessor","size":{"shortest_edge":224},"crop_size":{"height":224,"width":224},"do_center_crop":true,"do_normalize":true,"resample":3,"image_mean":[0.48,0.45,0.4],"image_std":[0.26,0.26,0.27],"rescale_factor":0.00392156862745098}"#,
        r#"{"image_processor_type":"Siglip2ImageProcessor","patch_size":16,"max_num_patches":256,"resample":2,"do_rescale":true}"#,
        r#"{"feature_extractor_type":"ASTFeatureExtractor","max_length":64,"num_mel_bins":32,"mean":-4.2,"std":4.5,"sampling_rate":16000,"do_normalize":true}"#,
        r#"{"image_processor_type":"VideoMAEImageProcessor","size":{"shortest_edge":48},"crop_size":{"height":48,"width":48},"do_center_crop":true,"image_mean":[0.5,0.5,0.5],"image_std":[0.5,0.5,0.5],"resample":2}"#,
        r#"{"processor_class":"P","image_processor":{"image_processor_type":"ViTImageProcessor","size":224,"resample":2}}"#,
        r#"{"model_cfg":{"vision_cfg":{"image_size":[32,48]}},"preprocess_cfg":{"resize_mode":"longest","fill_color":7,"mean":0.5,"std":[0.5,0.5,0.5],"interpolation":"bilinear"}}"#,
    ]);
    let files = contents("crates/tokmerge-models/fixtures/folders", &["preprocessor_config.json"]);
    by_hand.chain(files).collect()
}

pub(crate) fn labels() -> Vec<Vec<u8>> {
    bytes([
        "index\twnid\tname\n1\tn01443537\tgoldfish, Carassius auratus\n0\tn01440764\ttench\n",
        "0\ttench\r\n1\tgoldfish\r\n2\tgreat white shark\r\n",
        "tench\ngoldfish, Carassius auratus\n\nhen\n",
        r#"["tench", "goldfish, Carassius auratus", "hen"]"#,
        r#"{"1": "goldfish", "0": "tench", "2": "hen"}"#,
        r#"{"id2label": {"0": "tench", "1": "goldfish"}, "hidden_size": 4}"#,
        "\u{feff}a\tb\n0\tx\ty\n",
        "index,mid,display_name\n0,/m/09x0r,\"Speech\"\n1,/m/05zppz,\"Male speech, man speaking\"\n",
    ])
    .collect()
}

pub(crate) fn questions() -> Vec<Vec<u8>> {
    bytes([
        "{\"image\": \"images/1.png\", \"question\": \"What is red?\", \"answer\": \"circle\", \"kind\": \"shape\"}\n{\"image\": \"2.png\", \"question\": \"How many?\", \"answers\": [\"two\", \"2\"]}\n",
        "image,question,answer,kind\n1.png,\"What, then?\",red;Red,colour\r\n2.png,Is it?,no,\n",
        "\u{feff}answer,image,question\nred,a/1.png,\"Say \"\"no\"\"\"\n",
        r#"[["what shape is in the image?", "circle", 7], ["is it \u00fc?", "no", 7]]"#,
        r#"{"data_subtype": "val2014", "questions": [{"image_id": 42, "question": "Is it?", "question_id": 7}], "annotations": [{"question_id": 7, "answer_type": "yes/no", "answers": [{"answer": "no", "answer_id": 1}, {"answer": "yes"}]}]}"#,
    ])
    .collect()
}

pub(crate) fn sources() -> Vec<Vec<u8>> {
    bytes([
        "vit_tiny_patch16_224.augreg_in21k_ft_in1k",
        "local-dir:./some/folder",
        "hf-hub:timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k@main",
        "hf-hub:org/name@0123456789abcdef0123456789abcdef01234567",
        "demo",
    ])
    .collect()
}

/// One of each kind of model, with all kinds of steps before and after it.
pub(crate) fn tokenizers() -> Vec<Vec<u8>> {
    // A trie of 512 empty nodes, and a text that none points to.
    let table = format!("AAgA{}YWIA", "A".repeat(4 * 683));
    let unigram = r#"{"version":"1.0","truncation":{"direction":"Right","max_length":8,"strategy":"LongestFirst","stride":0},"padding":null,"added_tokens":[{"id":0,"content":"<pad>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true},{"id":1,"content":"</s>","single_word":false,"lstrip":false,"rstrip":true,"normalized":false,"special":true}],"normalizer":{"type":"Sequence","normalizers":[{"type":"Precompiled","precompiled_charsmap":"TABLE"},{"type":"Replace","pattern":{"Regex":" {2,}"},"content":"▁"},{"type":"Prepend","prepend":"▁"}]},"pre_tokenizer":{"type":"Metaspace","replacement":"▁","prepend_scheme":"always","split":true},"post_processor":{"type":"TemplateProcessing","single":[{"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"</s>","type_id":0}}],"pair":[{"Sequence":{"id":"A","type_id":0}},{"Sequence":{"id":"B","type_id":0}}],"special_tokens":{"</s>":{"id":"</s>","ids":[1],"tokens":["</s>"]}}},"decoder":{"type":"Metaspace","replacement":"▁","prepend_scheme":"always","split":true},"model":{"type":"Unigram","unk_id":2,"vocab":[["<pad>",0.0],["</s>",0.0],["<unk>",0.0],["▁",-2.0],["▁the",-3.5],["a",-4.0],["▁Hello",-7.25],["aa",-6.5]],"byte_fallback":false}}"#;
    let by_hand = bytes([
        r#"{"version":"1.0","truncation":null,"padding":{"strategy":{"Fixed":9},"direction":"Right","pad_to_multiple_of":null,"pad_id":0,"pad_type_id":0,"pad_token":"[PAD]"},"added_tokens":[],"normalizer":{"type":"Sequence","normalizers":[{"type":"NFD"},{"type":"Lowercase"},{"type":"StripAccents"},{"type":"Strip","strip_left":true,"strip_right":false}]},"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"WhitespaceSplit"},{"type":"Punctuation","behavior":"Isolated"},{"type":"Digits","individual_digits":true}]},"post_processor":{"type":"BertProcessing","sep":["[SEP]",2],"cls":["[CLS]",1]},"decoder":null,"model":{"type":"WordLevel","vocab":{"[PAD]":0,"[CLS]":1,"[SEP]":2,"hello":3,"the":4,"[UNK]":5},"unk_token":"[UNK]"}}"#,
        r###"{"version":"1.0","added_tokens":[{"id":1,"content":"[CLS]","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}],"normalizer":{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,"strip_accents":null,"lowercase":true},"pre_tokenizer":{"type":"BertPreTokenizer"},"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"[CLS]","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],"pair":[{"Sequence":{"id":"A","type_id":0}},{"Sequence":{"id":"B","type_id":1}}],"special_tokens":{"[CLS]":{"id":"[CLS]","ids":[1],"tokens":["[CLS]"]}}},"decoder":{"type":"WordPiece","prefix":"##","cleanup":true},"model":{"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##","max_input_chars_per_word":100,"vocab":{"[PAD]":0,"[CLS]":1,"[UNK]":2,"h":3,"##ello":4,"the":5,"a":6,"##a":7,"##aa":8,",":9}}}"###,
        r#"{"version":"1.0","added_tokens":[{"id":11,"content":"cats","single_word":true,"lstrip":true,"rstrip":false,"normalized":true,"special":false}],"normalizer":{"type":"NFC"},"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"'s|\\p{L}+|\\p{N}{1,3}|\\s+(?!\\S)|\\s+"},"behavior":"Removed","invert":true},{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false}]},"post_processor":{"type":"RobertaProcessing","sep":["</s>",1],"cls":["<s>",0],"trim_offsets":false,"add_prefix_space":false},"decoder":{"type":"Sequence","decoders":[{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]},"model":{"type":"BPE","dropout":null,"unk_token":"<unk>","continuing_subword_prefix":"","end_of_word_suffix":"","fuse_unk":false,"byte_fallback":false,"ignore_merges":false,"vocab":{"<s>":0,"</s>":1,"<unk>":2,"h":3,"e":4,"l":5,"a":6,"he":7,"ll":8,"aa":9,"t":10},"merges":[["h","e"],["l","l"],["a","a"]]}}"#,
        r#"{"added_tokens":[],"normalizer":{"type":"Replace","pattern":{"String":" "},"content":"▁"},"pre_tokenizer":null,"post_processor":null,"decoder":{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"}]},"model":{"type":"BPE","unk_token":"<unk>","fuse_unk":true,"byte_fallback":true,"vocab":{"<unk>":0,"<0x61>":1,"▁":2,"H":3,"e":4,"He":5},"merges":["H e"]}}"#,
    ]);
    by_hand.chain([unigram.replace("TABLE", &table).into_bytes()]).collect()
}

#[cfg(feature = "models")]
pub(crate) use of_models::{grids, merge_files, recipes, results, specs, tensor_names};

#[cfg(feature = "models")]
mod of_models {
    use super::{Checkpoint, bytes, contents, files};
    use std::fmt::Write as _;
    use tokmerge_merge::{METHODS, Method};

    pub(crate) fn tensor_names() -> Vec<Vec<u8>> {
        let paths = [
            files("crates/tokmerge-models/fixtures", &[".safetensors"]),
            files("crates/tokmerge-checkpoint/fixtures", &[".pth"]),
        ];
        let lines = |checkpoint: Checkpoint| {
            let mut text = String::new();
            for tensor in checkpoint.tensors() {
                let sides: String = tensor.shape.iter().map(|side| format!(" {side}")).collect();
                let _ = writeln!(text, "{}{sides}", tensor.name);
            }
            text.into_bytes()
        };
        let open = |path: std::path::PathBuf| Checkpoint::open(path).ok();
        paths
            .into_iter()
            .flatten()
            .filter_map(open)
            .map(lines)
            .filter(|text| text.len() <= super::LARGEST)
            .collect()
    }

    pub(crate) fn specs() -> Vec<Vec<u8>> {
        let by_hand = bytes([
            "none",
            "tome:r=[16,8],feature=k,similarity=cosine",
            "tome:r=13,inflect=-0.5,rounding=exact",
            "tome:r=8,recheck=0.5,last=cls",
            "atm:threshold=[0.9,0.95],split=2",
            "patchmerger:m=8,layers=[3,6]",
        ]);
        METHODS.iter().map(|info| info.example.as_bytes().to_vec()).chain(by_hand).collect()
    }

    pub(crate) fn merge_files() -> Vec<Vec<u8>> {
        let written = METHODS.iter().filter_map(|info| info.example.parse::<Method>().ok());
        let written = written.map(|method| method.spec().to_toml().into_bytes());
        let by_hand = bytes([
            "method = \"tome\"\nr = [3, 2]\n\n[measured]\ntop1 = 80.0\nimages = 1000\n",
            "# chosen by tune\nmethod = 'atm'\nthreshold = 0.9\nsplit = 2\n[model]\nname = \"vit_tiny_patch16_224\"\n",
        ]);
        written.chain(by_hand).collect()
    }

    pub(crate) fn grids() -> Vec<Vec<u8>> {
        bytes([
            "schedule.lr=[1e-3, 3e-4]",
            "merge=[none,tome:r=8,inflect=-1,evit:keep=70%]",
            r#"train.validate=[["none"],["none","tome:r=8"]]"#,
        ])
        .collect()
    }

    pub(crate) fn results() -> Vec<Vec<u8>> {
        bytes([
            "model,top1,merge,images,agreement,gmacs,mean_tokens,model_images_per_second,convention\nvit.a,80.0,none,200,100.0,4.0,197.0,100.0,fvcore\nvit.a,79.0,\"tome:r=8,inflect=-1\",200,96.0,3.0,101.0,130.0,fvcore\n",
            "model,infer_img_size,infer_samples_per_sec,infer_step_time,infer_batch_size,infer_gmacs,merge,dtype,threads\nvit,224,50.0,160.0,8,4.0,none,f32,2\n",
            "trained,merge,weights,runs,diverged,images,grid.schedule.lr,top1,top1_deviation,top1_low,top1_high,gmacs,train_seconds\nnone,none,ema,3,0,100,0.1,50.0,2.0,45.0,55.0,1.0,60\n",
            r#"{"model": "vilt", "merge": "none", "questions": 50, "accuracy": 70.0, "interval": [60.0, 80.0], "gmacs": 9.0}"#,
            r#"{"model": "vit", "img_size": [224, 160], "convention": "fvcore", "unmerged": {"merge": "none", "gmacs": 1.25, "cosine": {"value": 1.0, "low": 1.0, "high": 1.0}}, "tables": [{"rows": [{"label": "tome", "merge": "tome:r=8", "gmacs": 0.9, "cosine": {"value": 0.98, "low": 0.97, "high": 0.99}, "ms_per_image": {"min": 3.0, "median": 4.0, "max": 5.0}}]}]}"#,
        ])
        .collect()
    }

    pub(crate) fn recipes() -> Vec<Vec<u8>> {
        let by_hand = bytes([
            "merge = \"tome:r=2\"\n[model]\npatch_size = 8\nimg_size = 32\nembed_dim = 32\ndepth = 3\nnum_heads = 2\n[data]\ntrain = \"a\"\nsplit = 0.2\n[schedule]\nlr = 1e-3\n[train]\nepochs = 4\nbatch_size = 16\nema = 0.9\nclip_grad = 1.0\n",
            "[model]\nname = \"vit_tiny_patch16_224\"\nweights = \"pretrained\"\n[data]\ntrain = \"a\"\nval = \"b\"\n[lora]\nrank = 4\ntargets = [\"qkv\", \"blocks.11\"]\n[distill]\nweight = 0.5\n[routing]\nplaces = \"capacity=1.05,group=8\"\n[optimizer]\nname = \"sgd\"\nmomentum = 0.9\n[schedule]\nlr = 0.01\n[regularisation]\nrandaugment = \"rand-m9-mstd0.5-inc1\"\nmixup = 0.8\n[train]\nepochs = 1\nvalidate = [\"none\", \"tome:r=8\"]\n",
        ]);
        by_hand.chain(contents("recipes", &[".toml"])).collect()
    }
}

/// What other tools write for `tokmerge-embed`.
#[cfg(feature = "models")]
fn of_embedding(name: &str) -> Vec<u8> {
    let path = place("crates/tokmerge-embed/fixtures").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[cfg(feature = "models")]
pub(crate) fn archives() -> Vec<Vec<u8>> {
    vec![of_embedding("shard.tar")]
}

#[cfg(feature = "models")]
pub(crate) fn tables_of_images() -> Vec<Vec<u8>> {
    ["binary.parquet", "hugging_face.parquet", "missing.parquet"].map(of_embedding).into()
}

#[cfg(feature = "models")]
pub(crate) fn vectors() -> Vec<Vec<u8>> {
    let files = ["vectors.parquet", "halves.parquet", "vectors.npy", "halves.npy"].map(of_embedding);
    let by_hand = bytes([
        "key,v0,v1\na,1,2\n\"b,c\",-0.5,1e-3\n",
        "{\"key\": \"a\", \"vector\": [1, 2.5]}\n{\"key\": \"b\", \"vector\": [0, -1e9]}\n",
    ]);
    files.into_iter().chain(by_hand).collect()
}
