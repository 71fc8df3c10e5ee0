//! Routing by hand, and what has to hold for any.

use super::ExpertShape;
use super::assignment::Assignment;
use super::{
    Balance, Buffers, ExpertsConfig, Group, MixtureOfExperts, Order, Placement, RouterTraining, Routing,
};
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor, TensorData, activation::softmax};
use tokmerge_merge::Layout;
use tokmerge_nn::Random;
use tokmerge_ops::{Activation, DROPPED, Precision};

fn tensor(values: &[f32], shape: [usize; 2], device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().try_to_vec().expect("f32")
}

fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed);
    (0..count).map(|_| random.normal() as f32).collect()
}

fn close(actual: &[f32], expected: &[f32]) {
    assert_eq!(actual.len(), expected.len());
    for (a, e) in actual.iter().zip(expected) {
        assert!((a - e).abs() < 2e-6 * (1.0 + e.abs()), "{actual:?} instead of {expected:?}");
    }
}

fn config(experts: usize, chosen: usize) -> ExpertsConfig {
    ExpertsConfig { experts, chosen, placement: Placement::Last(1) }
}

/// Sets parameters by their paths; the others stay.
fn set(moe: MixtureOfExperts, of: impl FnMut(&str, usize) -> Option<Vec<f32>>) -> MixtureOfExperts {
    struct Setter<F> {
        path: Vec<String>,
        of: F,
    }
    impl<F: FnMut(&str, usize) -> Option<Vec<f32>>> ModuleMapper for Setter<F> {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_owned());
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }

        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let shape = param.lazy_shape().to_vec();
            let Some(values) = (self.of)(&self.path.join("."), shape.iter().product()) else { return param };
            let tensor = Tensor::from_data(TensorData::new(values, shape), &param.lazy_device());
            Param::initialized(param.id, tensor.set_require_grad(param.is_require_grad()))
        }
    }
    moe.map(&mut Setter { path: Vec::new(), of })
}

/// Gates of one token: logits are `router · x`, so on `x = [1, 0]` the router's first column.
fn of_gates(gates: [f32; 3]) -> [f32; 3] {
    gates.map(f32::ln)
}

/// Two channels, three experts; expert `e` multiplies by `e + 1` and adds `10 (e + 1)`. Tokens `[1, 0]` have the gates
/// .6, .3 and .1, tokens `[0, 1]` the gates .1, .2 and .7.
fn by_hand(chosen: usize, device: &Device) -> MixtureOfExperts {
    let shape =
        ExpertShape { channels: 2, hidden: 2, activation: Activation::Identity, precision: Precision::F32 };
    let (first, second) = (of_gates([0.6, 0.3, 0.1]), of_gates([0.1, 0.2, 0.7]));
    set(MixtureOfExperts::new(config(3, chosen), shape, device), move |path, count| {
        let parts: Vec<&str> = path.split('.').collect();
        let factor = |expert: &str| expert.parse::<f32>().expect("a number") + 1.0;
        Some(match parts.as_slice() {
            ["router", "weight"] => (0..3).flat_map(|e| [first[e], second[e]]).collect(),
            ["experts", expert, "fc2", "weight"] => vec![factor(expert), 0.0, 0.0, factor(expert)],
            ["experts", expert, "fc2", "bias"] => vec![10.0 * factor(expert); 2],
            ["experts", _, "fc1", "weight"] => vec![1.0, 0.0, 0.0, 1.0],
            ["experts", _, "fc1", "bias"] => vec![0.0; count],
            _ => panic!("{path}"),
        })
    })
}

#[test]
fn gates_weigh_what_experts_make_and_are_not_renormalised() {
    let device = Device::flex();
    let x = tensor(&[1.0, 0.0, 0.0, 1.0], [2, 2], &device);
    let layout = Layout::uniform(1, 2);
    // .6 (x + 10) + .3 (2x + 20), and .7 (3x + 30) + .2 (2x + 20).
    close(&values(by_hand(2, &device).forward(x.clone(), &layout)), &[13.2, 12.0, 25.0, 27.5]);
    // The best alone, still at .6 and .7: softmax comes before the choice.
    close(&values(by_hand(1, &device).forward(x.clone(), &layout)), &[6.6, 6.0, 21.0, 23.1]);
    // All of them: the gates sum to one.
    close(&values(by_hand(3, &device).forward(x, &layout)), &[16.5, 15.0, 26.0, 28.6]);
}

fn buffers(factor: f64, group: Group, order: Order) -> Buffers {
    Buffers { factor, group, order }
}

#[test]
fn buffers_have_a_multiple_of_four_places() {
    let places = |factor, tokens, chosen, experts| {
        buffers(factor, Group::Batch, Order::Position).places(tokens, chosen, experts)
    };
    // 8 images of 197 tokens: 2 * 1576 * 1.05 / 32 = 103.4, so 104; of 8 tokens: 4.2, so 5, so 8.
    assert_eq!(places(1.05, 1576, 2, 32), 104);
    assert_eq!(places(1.05, 64, 2, 32), 8);
    assert_eq!(places(1.0, 16, 1, 4), 4);
    assert_eq!(places(1.0, 17, 1, 4), 8);
    assert_eq!(places(0.001, 1, 1, 4), 4);
    // Per token all places of all experts: 8 * 32 / 64.
    let per_token = |group| buffers(1.05, group, Order::Position).places_per_token(8, 2, 32);
    assert_eq!(per_token(Group::Images(8)), 4.0);
    assert_eq!(per_token(Group::Tokens(71)), 4.0);
    assert_eq!(per_token(Group::Tokens(3)), per_token(Group::Images(1)));
    assert_eq!(per_token(Group::Batch), 2.1);
}

/// Who has a place with an expert, by rows.
fn placed(assignment: &Assignment) -> Vec<Vec<u32>> {
    assignment.ranges.iter().map(|range| assignment.rows[range.clone()].to_vec()).collect()
}

/// Five tokens that all want expert 0 first and 1 second, the later ones more so, and one that wants 1 first: expert 0
/// has four places and expert 1 too.
fn crowd() -> Vec<f32> {
    let gate = |first: f32| [first, 0.9 - first, 0.1];
    [gate(0.5), gate(0.55), gate(0.6), gate(0.65), gate(0.7), gate(0.2)].concat()
}

#[test]
fn first_choices_come_before_second_ones_and_the_rest_is_dropped() {
    let layout = Layout::uniform(1, 6);
    let assign = |order| {
        // ceil(6 * 2 / 3) = 4.
        let routing = Routing::Buffers(buffers(1.0, Group::Images(1), order));
        Assignment::new(&crowd(), 3, 2, &layout, routing)
    };
    let in_order = assign(Order::Position);
    assert_eq!(in_order.chosen, [[0, 0, 0, 0, 0, 1], [1, 1, 1, 1, 1, 0]].map(|c| c.to_vec()));
    // The last token's first choice has its place before all second choices.
    assert_eq!(placed(&in_order), [vec![0, 1, 2, 3], vec![5, 0, 1, 2], vec![]]);
    assert_eq!(in_order.places[0].as_ref(), [0, 1, 2, 3, DROPPED, 4]);
    assert_eq!(in_order.places[1].as_ref(), [5, 6, 7, DROPPED, DROPPED, DROPPED]);
    // By gates: .7 of the last token and of the fifth are equal, and the earlier one comes first.
    let by_gate = assign(Order::Gate);
    assert_eq!(by_gate.chosen, in_order.chosen);
    assert_eq!(placed(&by_gate), [vec![4, 3, 2, 1], vec![5, 4, 3, 2], vec![]]);
    assert_eq!(by_gate.places[0].as_ref(), [DROPPED, 3, 2, 1, 0, 4]);
    let free = Assignment::new(&crowd(), 3, 2, &layout, Routing::Free);
    assert_eq!(placed(&free), [vec![0, 1, 2, 3, 4, 5], vec![5, 0, 1, 2, 3, 4], vec![]]);
}

#[test]
fn a_token_without_a_place_gets_nothing() {
    let device = Device::flex();
    // Five tokens that all want expert 0; ceil(5 * 1 * .1 / 3) = 1, so four places.
    let x = tensor(&[1.0, 0.0].repeat(5), [5, 2], &device);
    let routing = Routing::Buffers(buffers(0.1, Group::Batch, Order::Position));
    let y = by_hand(1, &device).with_routing(routing).forward(x, &Layout::uniform(1, 5));
    close(&values(y), &[&[6.6, 6.0].repeat(4)[..], &[0.0, 0.0]].concat());
}

#[test]
fn of_equal_gates_the_first_are_chosen() {
    let gates = [0.25, 0.25, 0.25, 0.25, f32::NAN, f32::NAN, f32::NAN, f32::NAN];
    let assignment = Assignment::new(&gates, 4, 2, &Layout::uniform(1, 2), Routing::Free);
    assert_eq!(assignment.chosen, [vec![0, 0], vec![1, 1]]);
}

#[test]
fn groups_are_whole_images() {
    let layout = Layout::from_lens(&[3, 5, 0, 2, 4]);
    let rows = |group: Group| group.rows(&layout);
    assert_eq!(rows(Group::Images(1)), [0..3, 3..8, 8..10, 10..14]);
    assert_eq!(rows(Group::Images(2)), [0..8, 8..10, 10..14]);
    assert_eq!(rows(Group::Tokens(8)), [0..8, 8..14]);
    assert_eq!(rows(Group::Tokens(1)), [0..3, 3..8, 8..10, 10..14], "at least one image");
    assert_eq!((rows(Group::Batch).len(), rows(Group::Batch).pop()), (1, Some(0..14)));
    assert!(Group::Batch.rows(&Layout::uniform(0, 4)).is_empty());
    // The same group has fewer places after a merger.
    let eight = |len| Group::Images(8).rows(&Layout::uniform(16, len));
    assert_eq!((eight(197), eight(9)), (vec![0..1576, 1576..3152], vec![0..72, 72..144]));
    assert_eq!(Group::Tokens(1576).rows(&Layout::uniform(400, 9)).len(), 3, "175 images of 9 tokens each");
}

#[test]
fn losses_by_hand() {
    let device = Device::flex();
    // Importance (1.2, .8): mean 1, variance .04. The second group's is equal, so the mean of both is .02.
    let gates = tensor(&[0.5, 0.5, 0.7, 0.3, 0.4, 0.6, 0.6, 0.4], [4, 2], &device);
    let groups = [0..2, 2..4];
    let balance = Balance::importance(&gates, &groups);
    close(&values(balance.importance.clone()), &[0.02]);
    // One of two experts: the threshold is the larger noisy logit. Chances 1 - Φ((t - logit) / .5).
    let logits = tensor(&[0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0], [4, 2], &device);
    let least = tensor(&[0.5, 1.0, 0.0, 0.0], [4, 1], &device);
    let balance = balance.with_load(&logits, &least, 0.5, &groups);
    // Φ(1) = .8413447, Φ(2) = .9772499: loads (.1586553 + .5, .1586553 + .0227501) / 2.
    let (a, b) = (0.329_327_65_f32, 0.090_702_7);
    let expected = ((a - b) / (a + b)).powi(2) / 2.0;
    let load = balance.load.clone().expect("noise");
    assert!((values(load)[0] - expected).abs() < 1e-5, "{expected}");
    let weighted = values(balance.weighted(&RouterTraining::default()))[0];
    assert!((weighted - 0.005 * (0.02 + expected)).abs() < 1e-7);
}

fn random_moe(experts: usize, chosen: usize, device: &Device) -> MixtureOfExperts {
    let shape =
        ExpertShape { channels: 6, hidden: 10, activation: Activation::Gelu, precision: Precision::F32 };
    let mut seed = 0;
    set(MixtureOfExperts::new(config(experts, chosen), shape, device), |_, count| {
        seed += 1;
        Some(noise(count, seed).iter().map(|value| 0.5 * value).collect())
    })
}

#[test]
fn only_routed_tokens_run() {
    let device = Device::flex();
    let x = tensor(&noise(8 * 6, 40), [8, 6], &device);
    let layout = Layout::uniform(2, 4);
    let moe = random_moe(16, 2, &device);
    let gates = softmax(moe.router.forward(x.clone()), 1);
    let assignment = moe.assign(&gates, &layout, Routing::Free);
    let idle: Vec<String> = (0..16)
        .filter(|expert| assignment.ranges[*expert].is_empty())
        .map(|expert| format!("experts.{expert}."))
        .collect();
    assert!(!idle.is_empty() && idle.len() < 15, "some are idle: {idle:?}");
    let expected = values(moe.forward(x.clone(), &layout));
    assert!(expected.iter().all(|y| y.is_finite() && *y != 0.0));
    // Whatever an idle expert touched would not be a number any more, whatever its gate.
    let poisoned = |of: &[String]| {
        let of = of.to_vec();
        set(moe.clone(), move |path, count| {
            of.iter().any(|idle| path.starts_with(idle)).then(|| vec![f32::NAN; count])
        })
    };
    assert_eq!(values(poisoned(&idle).forward(x.clone(), &layout)), expected);
    // And a busy one touches its own tokens alone.
    let busy = (0..16).find(|expert| (1..8).contains(&assignment.ranges[*expert].len())).expect("a busy one");
    let y = values(poisoned(&[format!("experts.{busy}.")]).forward(x, &layout));
    for (row, y) in y.chunks_exact(6).enumerate() {
        let routed = assignment.rows[assignment.ranges[busy].clone()].contains(&(row as u32));
        assert!(y.iter().all(|y| y.is_nan() == routed), "row {row}");
    }
}

#[test]
fn an_item_is_as_alone_unless_places_are_shared() {
    let device = Device::flex();
    let layout = Layout::from_lens(&[5, 3, 6]);
    let x = tensor(&noise(14 * 6, 41), [14, 6], &device);
    let tight = |group| Routing::Buffers(buffers(0.1, group, Order::Gate));
    for (routing, alone) in
        [(Routing::Free, true), (tight(Group::Images(1)), true), (tight(Group::Images(3)), false)]
    {
        let moe = random_moe(2, 2, &device).with_routing(routing);
        let together = values(moe.forward(x.clone(), &layout));
        let apart: Vec<f32> = (0..3)
            .flat_map(|item| {
                let range = layout.range(item);
                let rows = Layout::uniform(1, range.len());
                values(moe.forward(x.clone().slice([range, 0..6]), &rows))
            })
            .collect();
        assert_eq!(together == apart, alone, "{routing}");
    }
    let empty = random_moe(2, 1, &device).forward(Tensor::zeros([0, 6], &device), &Layout::uniform(0, 4));
    assert_eq!(empty.dims(), [0, 6]);
}

/// Against finite differences: of the output, which reaches the router through the gates of the chosen experts alone,
/// and of the losses.
#[test]
fn gradients_of_router_experts_and_input() {
    let layout = Layout::uniform(2, 4);
    let training = RouterTraining {
        routing: Routing::Buffers(buffers(0.7, Group::Images(1), Order::Position)),
        ..RouterTraining::default()
    };
    // What is weighed: the output, or the losses.
    for (of_output, of_losses) in [(1.0, 0.0), (0.0, 1.0)] {
        // The loss after a value has changed, and who went where.
        let loss = |device: &Device, changed: &str, index: usize, by: f32| {
            let moe = set(random_moe(3, 2, device).with_training(training), |path, _| {
                (path == changed).then(|| {
                    let mut values = find(&random_moe(3, 2, &Device::flex()), path);
                    values[index] += by;
                    values
                })
            });
            let mut input = noise(8 * 6, 42);
            if changed == "input" {
                input[index] += by;
            }
            let x = tensor(&input, [8, 6], device);
            let x = if device.is_autodiff() { x.require_grad() } else { x };
            let (y, balance) = moe.forward_train(x.clone(), &layout, &mut Random::new(9));
            let mut random = Random::new(9);
            let drawn: Vec<f32> = (0..8 * 3).map(|_| (random.normal() / 3.0) as f32).collect();
            let noisy = moe.router.forward(x.clone()) + tensor(&drawn, [8, 3], device);
            let assignment = moe.assign(&softmax(noisy, 1), &layout, training.routing);
            let weighting = tensor(&noise(8 * 6, 43), [8, 6], device);
            let losses = balance.importance + balance.load.expect("noise");
            let loss = (y * weighting).sum() * of_output + losses * of_losses;
            (loss, moe, x, assignment)
        };
        let device = Device::flex().autodiff();
        let (tracked, moe, x, assignment) = loss(&device, "", 0, 0.0);
        let grads = tracked.backward();
        let of = |gradient: Option<Tensor<2>>| gradient.map(values).unwrap_or_default();
        let mut checks =
            vec![("router.weight", of(moe.router.weight.val().grad(&grads))), ("input", of(x.grad(&grads)))];
        if of_output > 0.0 {
            checks.push(("experts.0.fc1.weight", of(moe.experts[0].fc1.weight.val().grad(&grads))));
            checks.push(("experts.2.fc2.weight", of(moe.experts[2].fc2.weight.val().grad(&grads))));
        }
        for (path, gradient) in checks {
            let mut checked = 0;
            for index in (0..gradient.len()).step_by(5) {
                let step = 4e-3;
                let at = |by: f32| {
                    let (loss, _, _, there) = loss(&Device::flex(), path, index, by);
                    (there == assignment).then(|| f64::from(values(loss)[0]))
                };
                // Where a step changes who goes where, the loss jumps.
                let (Some(after), Some(before)) = (at(step), at(-step)) else { continue };
                let difference = (after - before) / f64::from(2.0 * step);
                let found = f64::from(gradient[index]);
                assert!(
                    (found - difference).abs() < 2e-3 + 0.02 * difference.abs(),
                    "{path}[{index}]: {found} {difference}"
                );
                checked += 1;
            }
            assert!(checked >= 3, "{path}: {checked} of {}", gradient.len());
        }
    }
}

/// The values of a parameter.
fn find(moe: &MixtureOfExperts, wanted: &str) -> Vec<f32> {
    let mut found = Vec::new();
    struct Finder<'f> {
        path: Vec<String>,
        wanted: &'f str,
        found: &'f mut Vec<f32>,
    }
    impl burn::module::ModuleVisitor for Finder<'_> {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_owned());
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if self.path.join(".") == self.wanted {
                *self.found = values(param.val());
            }
        }
    }
    moe.visit(&mut Finder { path: Vec::new(), wanted, found: &mut found });
    found
}

#[test]
fn noise_is_small_and_follows_from_the_seed() {
    let device = Device::flex();
    let moe = random_moe(4, 1, &device);
    let x = tensor(&noise(12 * 6, 44), [12, 6], &device);
    let layout = Layout::uniform(3, 4);
    let run = |noise: f64, seed: u64| {
        let training = RouterTraining { noise, routing: Routing::Free, ..RouterTraining::default() };
        let moe = moe.clone().with_training(training);
        let (y, balance) = moe.forward_train(x.clone(), &layout, &mut Random::new(seed));
        (values(y), balance.load.map(values))
    };
    let quiet = run(0.0, 1);
    assert_eq!(quiet.0, values(moe.forward(x.clone(), &layout)), "without noise as at inference");
    assert!(quiet.1.is_none(), "without noise there is no load to expect");
    assert_eq!(run(1.0, 1), run(1.0, 1));
    assert_ne!(run(1.0, 1).0, run(1.0, 2).0);
    // A tenth of the deviation, and the gates are nearly those without.
    let worst = |noise| {
        let pairs = run(noise, 3).0.into_iter().zip(&quiet.0).map(|(a, b)| (a - b).abs());
        pairs.fold(0.0, f32::max)
    };
    assert!(worst(0.001) < 1e-3 && worst(0.001) > 0.0, "{}", worst(0.001));
}

#[test]
fn routing_as_text() {
    for text in [
        "free",
        "capacity=1.05,group=8",
        "capacity=0.5,group=1576tokens,order=gate",
        "capacity=2,group=batch",
    ] {
        let routing: Routing = text.parse().expect(text);
        assert_eq!(routing.to_string(), text);
    }
    let alone = Routing::Buffers(buffers(1.5, Group::Images(1), Order::Gate));
    assert_eq!("capacity=1.5, order=gate".parse(), Ok(alone), "by default each image has its own places");
    for (text, said) in [
        ("", "'' is no option=value"),
        ("full", "'full' is no option=value"),
        ("group=8", "capacity is missing"),
        ("capacity=0", "capacity is 0, and it must be above 0"),
        ("capacity=nan", "capacity is nan"),
        ("capacity=inf", "capacity is inf"),
        ("capacity=1,group=0", "group is 0, and it must be a whole number from 1"),
        ("capacity=1,group=99999999999999999999", "group is 99999999999999999999"),
        ("capacity=1,group=8tokes", "group is 8tokes"),
        ("capacity=1,order=size", "order is size, and it must be position or gate"),
        ("capacity=1,capacity=2", "capacity is given twice"),
        ("capacity=1,k=3", "there is no option k"),
    ] {
        let error = text.parse::<Routing>().expect_err(text).to_string();
        assert!(error.contains(said) && error.contains("e.g. capacity=1.05,group=8"), "{error}");
    }
}

#[test]
fn experts_stand_in_the_last_odd_blocks_or_in_every_kth() {
    assert_eq!(Placement::Last(2).blocks(12), [9, 11]);
    assert_eq!(Placement::Last(5).blocks(32), [23, 25, 27, 29, 31]);
    assert_eq!(Placement::Last(2).blocks(7), [3, 5]);
    assert_eq!(Placement::Every(2).blocks(8), [1, 3, 5, 7]);
    assert_eq!(Placement::Every(3).blocks(8), [2, 5]);
    let misfit = |experts, chosen, placement: Placement, depth| {
        ExpertsConfig { experts, chosen, placement }.misfit(depth).unwrap_or_default()
    };
    assert_eq!(misfit(32, 2, Placement::Last(6), 12), "");
    assert!(misfit(32, 2, Placement::Last(7), 12).contains("allow 1 to 6"));
    assert!(misfit(32, 2, Placement::Every(13), 12).contains("allow 1 to 12"));
    assert!(misfit(2, 3, Placement::Last(1), 12).contains("a token is to use 3 of 2 experts"));
    assert!(misfit(0, 1, Placement::Last(1), 12).contains("0 experts"));
    assert!(misfit(5000, 1, Placement::Last(1), 12).contains("5000 experts"));
}
