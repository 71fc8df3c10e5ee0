//! What arguments mean, against the modules that timm builds of them: `fixtures/registry.py` looks at those.

use super::architecture;
use crate::families::vit::{NormPlace, Pool, VitConfig};
use crate::network::Config;
use crate::positions::{AxisOrder, Frequencies, RotaryConfig};
use serde_json::{Value, json};

#[test]
fn shapes_are_those_of_the_modules_that_timm_builds() {
    let fixture: Value = serde_json::from_str(include_str!("../../fixtures/registry.json")).expect("JSON");
    let mut failures = Vec::new();
    for (name, expected) in fixture["models"].as_object().expect("an object of models") {
        let found = architecture(name).unwrap_or_else(|error| panic!("{error}"));
        #[allow(irrefutable_let_patterns, reason = "as long as there is one family")]
        let Config::Vit(vit) = &found.config else { panic!("{name} is of another family") };
        let mlp = vit.block.mlp;
        for (fact, here) in [
            ("eps", json!(vit.block.norm.eps)),
            ("norms", norms(vit)),
            ("pool", pool(vit)),
            ("mlp", json!([format!("{:?}", mlp.activation), format!("{:?}", mlp.gate), mlp.hidden])),
            ("rotary", vit.positions.rotary.as_ref().map_or(Value::Null, rotary)),
        ] {
            if expected[fact] != here {
                failures.push(format!("{name}: {fact} is {here}, and {} in timm", expected[fact]));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn norms(vit: &VitConfig) -> Value {
    let found = [
        ("fc_norm", vit.norm_place == NormPlace::AfterPool),
        ("norm", vit.norm_place == NormPlace::BeforePool),
        ("norm_pre", vit.pre_norm),
        ("patch_embed.norm", vit.patch_norm.is_some()),
    ];
    json!(found.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect::<Vec<_>>())
}

fn pool(vit: &VitConfig) -> Value {
    json!(match vit.pool {
        Pool::Token => "token",
        Pool::Average | Pool::AverageAll => "avg",
        Pool::Attention(_) => "map",
        Pool::TokenAndAverage => "token and avg",
    })
}

fn rotary(rotary: &RotaryConfig) -> Value {
    let axes = |order: AxisOrder| match order {
        AxisOrder::RowsFirst => "ij",
        AxisOrder::ColumnsFirst => "xy",
    };
    let pairs = format!("{:?}", rotary.pairs);
    match rotary.frequencies {
        Frequencies::Axial { temperature, order, offset, reference } => {
            json!(["Cat", temperature, offset, axes(order), reference, pairs])
        }
        Frequencies::Mixed { order } => json!(["Mixed", axes(order), pairs]),
        Frequencies::Normalised { temperature } => json!(["DinoV3", temperature, pairs]),
    }
}
