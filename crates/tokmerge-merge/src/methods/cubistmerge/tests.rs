use super::{Cubistmerge, SharedDestination};
use crate::{
    BindError, Evidence, Layout, Method, ModelFacts, Reduction, ScheduleError, Similarity, Tokens, Trace,
};
use burn::tensor::{Device, Tensor, TensorData};

fn bind(spec: &str, grid: Option<(usize, usize)>) -> Result<Reduction, BindError> {
    let patches = grid.map_or(9, |(rows, columns)| rows * columns);
    let facts = ModelFacts { grid, ..ModelFacts::new(3, patches + 1, 1) };
    Reduction::bind(spec.parse().unwrap_or_else(|error| panic!("{error}")), &facts)
}

/// What is left of patches on a grid behind a class token, and the group of every patch.
fn merged<const C: usize>(
    options: &str,
    grid: (usize, usize),
    patches: &[[f32; C]],
) -> (Vec<f32>, Vec<Option<u32>>) {
    let rows: Vec<f32> = [&[[99.0; C]], patches].concat().into_iter().flatten().collect();
    let len = patches.len() + 1;
    let x = Tensor::from_data(TensorData::new(rows, [len, C]), &Device::flex());
    let tokens = Tokens::new(x, Layout::uniform(1, len), 1);
    let reduction = bind(&format!("cubistmerge:{options}"), Some(grid)).expect("fits");
    let mut trace = Trace::default();
    let (after, _) = reduction.enter(1, tokens, Evidence::default(), &mut trace);
    let plan = trace.plan_until(None).expect("merged");
    let groups = plan.groups(0)[1..].iter().map(|group| group.map(|group| group - 1)).collect();
    (after.x.into_data().iter::<f32>().skip(C).collect(), groups)
}

/// The same of patches of one channel, by distance.
fn near(options: &str, grid: (usize, usize), patches: &[f32]) -> (Vec<f32>, Vec<Option<u32>>) {
    let patches: Vec<[f32; 1]> = patches.iter().map(|value| [*value]).collect();
    merged(&format!("{options},distance=euclidean"), grid, &patches)
}

fn places(groups: &[u32]) -> Vec<Option<u32>> {
    groups.iter().map(|group| Some(*group)).collect()
}

#[test]
fn in_every_row_the_most_similar_of_every_second_merge_into_the_nearer_neighbour() {
    let row = [0.0, 1.0, 5.0, 5.5, 9.0];
    assert_eq!(near("rows=0,columns=1", (1, 5), &row), (vec![0.0, 1.0, 5.5, 9.0], places(&[0, 1, 2, 2, 3])));
    let two = (vec![1.0, 5.5, 9.0], places(&[0, 0, 1, 1, 2]));
    assert_eq!(near("rows=0,columns=2", (1, 5), &row), two);
    // Half of a row is the most.
    assert_eq!(near("rows=7,columns=7", (1, 5), &row), two);
    // A negative value wins by its magnitude.
    assert_eq!(near("rows=0,columns=1", (1, 2), &[1.0, -2.0]).0, [-2.0]);
}

#[test]
fn columns_follow_rows_and_the_grid_keeps_its_order() {
    let grid = [1.0, 7.0, 2.0, 5.0, 4.0, 5.5];
    let found = near("rows=1,columns=0", (3, 2), &grid);
    assert_eq!(found, (vec![2.0, 7.0, 4.0, 5.5], places(&[0, 1, 0, 3, 2, 3])));
    // Where columns lose other rows, the second of what each has left stand side by side.
    let found = near("rows=1,columns=0", (4, 2), &[1.0, 1.0, 1.5, 5.0, 9.0, 9.0, 20.0, 9.5]);
    assert_eq!(found.0, [1.5, 1.0, 9.0, 5.0, 20.0, 9.5]);
    assert_eq!(found.1, places(&[0, 1, 0, 3, 2, 5, 4, 5]));
    // Rows first become 7, 5 and 5.5, of which the second is nearer to the third.
    assert_eq!(near("rows=1,columns=1", (3, 2), &grid), (vec![7.0, 5.5], places(&[0, 0, 1, 1, 1, 1])));
}

#[test]
fn of_two_that_share_a_destination_the_code_loses_one_with_all_that_it_is_made_of() {
    // 4 and 3 are as near to 3.5; 4 is first, so that 3 overwrites it.
    let row = [9.0, 4.0, 3.5, 3.0, 9.0];
    assert_eq!(near("rows=0,columns=2", (1, 5), &row), (vec![9.0, 3.5, 9.0], places(&[0, 1, 1, 1, 2])));
    assert_eq!(near("rows=0,columns=2,combine=paper", (1, 5), &row).0, [9.0, 4.0, 9.0]);
    // The third of the merging is handled before the second: of 0.4 and 0.6 the latter is lost.
    let row = [0.5, 0.4, 0.0, 0.6, 7.0, 7.05, 9.0];
    assert_eq!(near("rows=0,columns=3", (1, 7), &row).0, [0.5, 0.6, 7.05, 9.0]);
    // In a column, where both had merged in their rows.
    let grid = [9.0, 1.0, 1.0, 4.0, 3.5, 0.0, 3.0, 1.0, 9.0, 0.0];
    let groups = places(&[0, 0, 1, 1, 1, 1, 1, 1, 2, 2]);
    assert_eq!(near("rows=2,columns=1", (5, 2), &grid), (vec![9.0, 3.5, 9.0], groups.clone()));
    assert_eq!(near("rows=2,columns=1,combine=paper", (5, 2), &grid), (vec![9.0, 4.0, 9.0], groups));
}

#[test]
fn by_cosine_lengths_do_not_count_and_the_left_of_two_as_similar_is_taken() {
    let of = |row: &[[f32; 2]]| merged("rows=0,columns=1", (1, 3), row);
    let (values, groups) = of(&[[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]);
    assert_eq!((values, groups), (vec![1.0, 1.0, 0.0, 1.0], places(&[0, 0, 1])));
    let (values, groups) = of(&[[0.0, 1.0], [1.0, 1.0], [8.0, 7.0]]);
    assert_eq!((values, groups), (vec![0.0, 1.0, 8.0, 7.0], places(&[0, 1, 1])));
    // What is no number is like nothing.
    let (values, groups) = of(&[[1.0, f32::NAN], [1.0, 1.0], [0.0, 3.0]]);
    assert_eq!((values[2..].to_vec(), groups), (vec![1.0, 3.0], places(&[0, 1, 1])));
}

#[test]
fn items_that_are_not_the_whole_grid_are_left_alone() {
    let values: Vec<f32> = (0..11).map(|value| (value * value) as f32).collect();
    let x = Tensor::<2>::from_data(TensorData::new(values.clone(), [11, 1]), &Device::flex());
    let tokens = Tokens::new(x, Layout::from_lens(&[4, 7]), 1);
    let reduction = bind("cubistmerge:rows=1,columns=1,distance=euclidean", Some((2, 3))).expect("fits");
    let (after, _) = reduction.enter(1, tokens, Evidence::default(), &mut Trace::default());
    let found: Vec<f32> = after.x.into_data().iter().collect();
    // Rows 25, 36, 49 and 64, 81, 100 become 36, 49 and 81, 100, and these the lower row.
    assert_eq!(found[..5], [&values[..5]].concat());
    assert_eq!((found[5..].to_vec(), after.layout), (vec![81.0, 100.0], Layout::from_lens(&[4, 3])));
}

#[test]
fn what_is_left_and_what_it_costs_is_known_beforehand() {
    let facts = ModelFacts { grid: Some((14, 14)), ..ModelFacts::new(12, 197, 1) };
    let method: Method = "cubistmerge:rows=2,columns=2".parse().expect("a spec");
    let reduction = Reduction::bind(method, &facts).expect("fits");
    let layers = reduction.expected_tokens(197, 12).expect("known");
    assert_eq!((layers[0].fed, layers[1].compared, layers[11].fed), (197, 145, 145));
    // 14 rows and then 12 columns of 13 pairs each.
    assert_eq!(reduction.matching_macs(1, 197, 64, 192), 338.0 * 192.0);
    assert_eq!(reduction.matching_macs(0, 197, 64, 192), 0.0);
    assert!(
        bind("cubistmerge:rows=0,columns=0", Some((4, 4))).expect("fits").expected_tokens(17, 3).is_some()
    );
}

#[test]
fn what_it_is_reads_back_and_models_without_a_grid_are_refused() {
    let method = Method::Cubistmerge(Cubistmerge {
        layer: 1,
        similarity: Similarity::Euclidean,
        shared: SharedDestination::BothCount,
        ..Cubistmerge::new(1, 2)
    });
    assert_eq!(method.to_string(), "cubistmerge:rows=1,columns=2,layer=1,distance=euclidean,combine=paper");
    assert_eq!(method.to_string().parse::<Method>(), Ok(method));
    for wrong in [
        "cubistmerge",
        "cubistmerge:rows=2",
        "cubistmerge:rows=2,columns=-1",
        "cubistmerge:rows=1,columns=1,layer=0",
    ] {
        assert!(wrong.parse::<Method>().is_err(), "{wrong}");
    }
    let error = bind("cubistmerge:rows=1,columns=1", None).unwrap_err().to_string();
    assert!(error.contains("no pictures of one size") && error.contains("tome:r=8"), "{error}");
    let error = bind("cubistmerge:rows=1,columns=1,layer=4", Some((2, 2))).unwrap_err();
    let source = ScheduleError::Layer { layer: 4, depth: 3 };
    assert!(matches!(error, BindError::Schedule { source: found, .. } if found == source));
}
