//! How class folders become classes.

use clap::{Args, ValueEnum};
use tokmerge::ClassOrder;

/// The order of class folders.
#[derive(Args, Debug)]
pub(crate) struct ClassOrderArgs {
    /// Take the sorted class folders as the model's classes, whatever their names: natural (2 before 10) or plain
    #[arg(long, value_name = "ORDER")]
    class_order: Option<Order>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Order {
    Natural,
    Plain,
}

impl ClassOrderArgs {
    pub(crate) fn order(&self) -> Option<ClassOrder> {
        self.class_order.map(|order| match order {
            Order::Natural => ClassOrder::Natural,
            Order::Plain => ClassOrder::Plain,
        })
    }
}
