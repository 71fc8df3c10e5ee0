//! The loop.

use crate::checkpoint::{Best, Checkpoints, LEARNED, Position, RECIPE, Saved};
use crate::consistency::Consistency;
use crate::course::Course;
use crate::data::{BatchOptions, Batches, TargetKind, Targets, TextView, TrainBatch, View};
use crate::distill::Teacher;
use crate::ema::Ema;
use crate::error::TrainError;
use crate::freeze;
use crate::gradients;
use crate::log::{Log, StepRow};
use crate::lora;
use crate::optimizer::{Groups, optimizer};
use crate::pass::{Pass, Target};
use crate::recipe::RegularisationRecipe;
use crate::schedule::Schedule;
use crate::start::{Origin, Setup, Start};
use crate::validate::{Averaging, Validation, validate};
use crate::weights::placeholder;
use burn::tensor::{Tensor, TensorData};
use burn_optim::{GradientsAccumulator, GradientsParams, ModuleOptimizer};
use std::path::{Path, PathBuf};
use std::time::Instant;
use tokmerge_merge::{Method, Reduction};
use tokmerge_models::{Answers, DropRates, Network};
use tokmerge_nn::parameters::{assign, read};

/// Something that happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'e> {
    /// A step was taken.
    Step {
        /// Steps done.
        step: usize,
        /// The epoch it belongs to, from 1.
        epoch: usize,
        /// Its loss.
        loss: f64,
        /// Its learning rate.
        lr: f64,
        /// Images over the time of the step, waiting for images included.
        images_per_second: f64,
    },
    /// An item to train on could not be read and another one took its place; told once per item.
    Unreadable(&'e str),
    /// An item to validate on could not be read and is left out; told once per item.
    LeftOut(&'e str),
    /// Validation begins.
    Validating,
    /// Validation is done.
    Validated(&'e Validation),
    /// A checkpoint was written.
    Saved(&'e Path),
}

/// Receives the events of a run.
pub trait Observer {
    /// Something happened.
    fn event(&mut self, event: Event<'_>);
}

/// Nobody listens.
impl Observer for () {
    fn event(&mut self, _: Event<'_>) {}
}

/// A run that is over.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Steps of the whole run.
    pub steps: usize,
    /// The last validation: of the model, and of its moving average where there is one.
    pub validations: Vec<Validation>,
    /// Step and percent of the best validation, and where its weights are.
    pub best: Option<(usize, f64, PathBuf)>,
    /// What the weights of the merging method have learned, written out, where they are a few numbers: it merges as they do, in
    /// any model.
    pub learned: Option<Method>,
    /// The folder, which can be opened as a model.
    pub dir: PathBuf,
}

/// A run: what [`Start`] opened, and everything that changes.
pub struct Trainer {
    setup: Setup,
    checkpoints: Checkpoints,
    log: Log,
    schedule: Schedule,
    steps_per_epoch: usize,
    course: Course,
    /// How the second pass of every step merges, where there is one.
    second: Option<Course>,
    validate: Vec<Method>,
    teacher: Option<Teacher>,
    groups: Groups,
    network: Network,
    ema: Option<Ema>,
    optimizer: ModuleOptimizer,
    /// Steps done.
    step: usize,
    /// Steps after which there is a checkpoint.
    saved: Option<usize>,
    /// Images that were told to be unreadable.
    told: Vec<String>,
    /// The last validation.
    last: Vec<Validation>,
}

/// What follows from a start that fits.
struct Fitted {
    steps_per_epoch: usize,
    course: Course,
    second: Option<Course>,
    validate: Vec<Method>,
    teacher: Option<Teacher>,
}

impl Fitted {
    /// Refuses too few items for a step, and ways of merging that do not fit the model.
    fn new(start: &Start) -> Result<Self, TrainError> {
        let recipe = &start.setup.recipe;
        let step_items = recipe.train.batch_size * recipe.train.accumulate;
        let (items, words) = (start.setup.data.train.len(), start.setup.data.media.words());
        let steps_per_epoch = items / step_items;
        if steps_per_epoch == 0 {
            return Err(TrainError::Data(format!(
                "there are {items} {words} to train on, fewer than the {step_items} of one step; lower train.batch_size or train.accumulate"
            )));
        }
        let facts = start.setup.facts();
        let method =
            |spec: &String| spec.parse::<Method>().map_err(|error| TrainError::Data(error.to_string()));
        let course = Course::new(recipe, &facts, steps_per_epoch)?;
        let second = recipe.consistency.as_ref();
        // Other numbers than those that draw how the first pass merges.
        let second =
            second.map(|second| Course::drawn(&second.merge, &facts, !recipe.train.seed)).transpose()?;
        let validate = recipe.validate_specs().iter().map(method).collect::<Result<Vec<_>, _>>()?;
        for method in &validate {
            Reduction::bind(method.clone(), &facts)?;
        }
        let teacher = recipe.distill.as_ref().map(|distill| Teacher::new(distill, &start.network, &facts));
        Ok(Self { steps_per_epoch, course, second, validate, teacher: teacher.transpose()? })
    }
}

impl Start {
    /// Refuses what [`Trainer::new`] would refuse of it in any folder.
    ///
    /// # Errors
    /// When there are fewer items than a step takes, or a way of merging does not fit the model.
    pub fn check(&self) -> Result<(), TrainError> {
        Fitted::new(self).map(drop)
    }
}

/// Whether a run begins or goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    New,
    Resume,
    /// With more epochs.
    Extend,
}

impl Trainer {
    /// A new run in a folder that holds none.
    ///
    /// # Errors
    /// When there are fewer images than a step takes, a way of merging does not fit the model, or the folder holds a
    /// run already or cannot be written.
    pub fn new(start: Start, dir: &Path) -> Result<Self, TrainError> {
        Self::open(start, dir, Begin::New)
    }

    /// Goes on from the last checkpoint in a folder.
    ///
    /// # Errors
    /// As [`new`](Self::new); when there is no checkpoint, or it is of another recipe, other images or another model.
    pub fn resume(start: Start, dir: &Path) -> Result<Self, TrainError> {
        Self::open(start, dir, Begin::Resume)
    }

    /// The same with more epochs (`train.epochs`) than the run began with, whether it has ended or not. From here on the
    /// learning rate is that of the schedule of all epochs at this step: it may rise again.
    ///
    /// # Errors
    /// As [`resume`](Self::resume); when there are not more epochs.
    pub fn extend(start: Start, dir: &Path) -> Result<Self, TrainError> {
        Self::open(start, dir, Begin::Extend)
    }

    fn open(start: Start, dir: &Path, begin: Begin) -> Result<Self, TrainError> {
        let Fitted { steps_per_epoch, course, second, validate, teacher } = Fitted::new(&start)?;
        let occupied =
            |reason: &str| TrainError::Occupied { path: dir.to_owned(), reason: reason.to_owned() };
        // Nothing is created for a run that cannot be resumed.
        if begin != Begin::New && !dir.join("checkpoints").is_dir() {
            return Err(occupied("there is no checkpoint to resume from; leave out `resume` to begin"));
        }
        if begin == Begin::New {
            Checkpoints::check_free(dir)?;
        }
        let checkpoints = Checkpoints::new(dir)?;
        let saved = match (begin, checkpoints.latest()) {
            (Begin::New, None) => None,
            (Begin::New, Some(_)) => {
                return Err(occupied(
                    "holds the checkpoints of a run; give `resume` to go on with it, or another `output`",
                ));
            }
            (Begin::Resume | Begin::Extend, None) => {
                return Err(occupied("there is no checkpoint to resume from; leave out `resume` to begin"));
            }
            (Begin::Resume | Begin::Extend, Some(path)) => Some(checkpoints.read(&path, &start, begin)?),
        };
        let Start { setup, network } = start;
        let recipe = &setup.recipe;
        let adapted = |network: Network, saved| match &recipe.lora {
            Some(lora) => lora::attach(network, lora, recipe.train.seed, saved, &setup.device),
            None => Ok(network),
        };
        let frozen = |network| freeze::frozen(network, &recipe.train.frozen);
        let ema = recipe.train.ema;
        let (network, ema, step, record) = match saved {
            None => {
                let network = frozen(adapted(network, None)?);
                let ema = ema.map(|decay| Ema::new(decay, &network, &setup.device));
                (network, ema, 0, None)
            }
            Some(Saved { position, weights, ema: average, optimizer: record }) => {
                let network = assign(network, &weights, &setup.device);
                let network = frozen(adapted(network, Some(&weights))?);
                let average = ema.zip(average);
                let ema =
                    average.map(|(decay, average)| Ema::resume(decay, &network, &average, &setup.device));
                (network, ema, position.step, Some(record))
            }
        };
        let groups = Groups::new(&network, recipe.schedule.pace());
        let mut optimizer = optimizer(&recipe.optimizer, &groups);
        if let Some(record) = record {
            optimizer = optimizer.load_record(record);
        }
        checkpoints.write_file(RECIPE, recipe.to_toml().as_bytes())?;
        let log = Log::open(&checkpoints, step, setup.data.measure())?;
        let schedule = Schedule::new(recipe, steps_per_epoch);
        let saved = (step > 0).then_some(step);
        Ok(Self {
            checkpoints,
            log,
            schedule,
            steps_per_epoch,
            course,
            second,
            validate,
            teacher,
            groups,
            network,
            ema,
            optimizer,
            step,
            saved,
            told: Vec::new(),
            last: Vec::new(),
            setup,
        })
    }

    /// Steps done, and steps of the whole run.
    #[must_use]
    pub fn progress(&self) -> (usize, usize) {
        (self.step, self.schedule.steps())
    }

    /// Steps of an epoch.
    #[must_use]
    pub fn steps_per_epoch(&self) -> usize {
        self.steps_per_epoch
    }

    /// Values that are trained, and values of the model with those that are added to them.
    #[must_use]
    pub fn trained(&self) -> (usize, usize) {
        lora::trained(&self.network)
    }

    /// Trains to the end, and leaves the trained model in the folder.
    ///
    /// # Errors
    /// When the loss is no longer a number, images cannot be read, or something cannot be written. The last
    /// checkpoint stays.
    pub fn run(mut self, observer: &mut dyn Observer) -> Result<Summary, TrainError> {
        self.run_until(usize::MAX, observer)?;
        if self.last.is_empty() {
            // The run had ended before, all but the result.
            self.validated(observer)?;
        }
        // What was averaged is what should be used.
        let result = self.ema.as_ref().map_or(&self.network, Ema::model);
        let method: Method = self.setup.recipe.merge.parse().unwrap_or(Method::None);
        let learned = method.given(result.mergers(), &self.setup.facts());
        let weights = read(&lora::merged(result));
        self.checkpoints.save_result(&self.setup, &weights)?;
        if let Some(learned) = &learned {
            self.checkpoints.write_file(LEARNED, learned.spec().to_toml().as_bytes())?;
        }
        let best = self.checkpoints.best();
        let dir = self.checkpoints.dir().to_owned();
        let best = best.map(|best| (best.step, best.top1, dir.join("best")));
        Ok(Summary { steps: self.step, validations: self.last, best, learned, dir })
    }

    /// Trains up to step `step` of the run, or to its end, and writes checkpoints and validations when they are due.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_until(&mut self, step: usize, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let end = step.min(self.schedule.steps());
        // A kill may have come between a checkpoint and the validation that was due.
        self.validate_if_due(observer)?;
        while self.step < end {
            let epoch = self.step / self.steps_per_epoch;
            let stop = end.min((epoch + 1) * self.steps_per_epoch);
            let mut batches = self.batches(epoch, stop).map_err(|error| {
                TrainError::Data(format!("the threads that read images cannot be started: {error}"))
            })?;
            while self.step < stop {
                self.one_step(&mut batches, epoch, observer)?;
                if self.checkpoint_due() {
                    self.save(observer)?;
                }
                self.validate_if_due(observer)?;
            }
        }
        Ok(())
    }

    /// The batches from here to step `stop`, which is in the same epoch.
    fn batches(&self, epoch: usize, stop: usize) -> std::io::Result<Batches> {
        let recipe = &self.setup.recipe;
        let options = BatchOptions {
            batch_size: recipe.train.batch_size,
            shape: self.setup.architecture.config.shape().input,
            classes: self.setup.architecture.config.shape().classes,
            label_smoothing: recipe.regularisation.label_smoothing,
            mix: recipe.regularisation.mix(),
            seed: recipe.train.seed,
            workers: recipe.data.workers,
            targets: match (
                self.setup.architecture.config.writes(),
                self.setup.architecture.processor.words(),
            ) {
                (true, Some(texts)) => TargetKind::Texts(TextView::new(texts.clone())),
                _ => TargetKind::Classes,
            },
        };
        let view = View::new(&self.setup.architecture.processor, &recipe.regularisation);
        let view = view.map_err(std::io::Error::other)?;
        let of_epoch = |step: usize| (step - epoch * self.steps_per_epoch) * recipe.train.accumulate;
        Batches::new(self.setup.data.train.clone(), view, options, epoch, of_epoch(self.step), of_epoch(stop))
    }

    fn one_step(
        &mut self,
        batches: &mut Batches,
        epoch: usize,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        let began = Instant::now();
        let train = self.setup.recipe.train.clone();
        let lr = self.schedule.lr(self.step);
        let step = self.step + 1;
        let (mut loss, mut images) = (0.0, 0);
        let mut accumulated = GradientsAccumulator::new();
        for part in 0..train.accumulate {
            let batch =
                batches.next().unwrap_or_else(|| Err("the thread that reads images ended".to_owned()));
            let batch = batch.map_err(|last| TrainError::Unreadable {
                tried: 16.min(self.setup.data.train.len()),
                last,
                folder: self.setup.data.train.root().to_owned(),
            })?;
            self.tell_failures(&batch, observer);
            images += batch.items;
            let (part_loss, gradients) = self.gradients(batch, train.accumulate, part);
            loss += part_loss / train.accumulate as f64;
            if !part_loss.is_finite() {
                return Err(TrainError::NotFinite {
                    what: "the loss",
                    step,
                    lr,
                    kept: self.checkpoints.kept(),
                });
            }
            accumulated.accumulate(&self.network, gradients);
        }
        let mut gradients = accumulated.grads();
        let mut grad_norm = None;
        if let Some(most) = train.clip_grad {
            let norm = gradients::norm(&self.network, &gradients);
            if !norm.is_finite() {
                let what = "the gradient";
                return Err(TrainError::NotFinite { what, step, lr, kept: self.checkpoints.kept() });
            }
            // As PyTorch's clip_grad_norm_.
            if norm > most {
                gradients = gradients::scale(&self.network, gradients, most / (norm + 1e-6));
            }
            grad_norm = Some(norm);
        }
        // By value: with another handle on them, the weights would have to be copied.
        let network = std::mem::replace(&mut self.network, placeholder());
        let rates = self.groups.rates(lr, self.schedule.learns(self.step));
        self.network = self.optimizer.step(rates, network, gradients);
        self.ema = self.ema.take().map(|ema| ema.update(&self.network));
        self.step = step;
        let seconds = began.elapsed().as_secs_f64();
        let images_per_second = images as f64 / seconds;
        let epoch = epoch + 1;
        let row = StepRow { step, epoch, lr, loss, grad_norm, images_per_second, seconds };
        let logged = self.log.step(&row);
        logged.map_err(|error| self.checkpoints.cannot_write(self.log.steps_path(), &error))?;
        observer.event(Event::Step { step, epoch, loss, lr, images_per_second });
        Ok(())
    }

    /// Loss and gradients of a batch, these divided by the number of batches of a step.
    fn gradients(&self, batch: TrainBatch, accumulate: usize, part: usize) -> (f64, GradientsParams) {
        let shape = self.setup.architecture.config.shape();
        let device = &self.setup.device;
        let TrainBatch { input: batch, targets, items, .. } = batch;
        let recipe = &self.setup.recipe;
        let target = match targets {
            Targets::Texts(texts) => {
                let smoothing = recipe.regularisation.label_smoothing;
                Target::Texts { answers: Answers::new(&texts), smoothing }
            }
            Targets::Classes(targets) => {
                let targets = TensorData::new(targets, [items, shape.classes]);
                let targets: Tensor<2> = Tensor::from_data(targets, device);
                let (targets, lesson) = match &self.teacher {
                    None => (targets, None),
                    Some(teacher) => {
                        let plain = device.clone().without_autodiff();
                        let input = batch.clone().into_input(&shape.input, &plain);
                        let (targets, lesson) = teacher.teach(input, targets.without_autodiff());
                        (targets, Some(lesson))
                    }
                };
                Target::Classes { targets, loss: self.setup.loss, lesson }
            }
        };
        let seed = recipe.train.seed ^ ((self.step * accumulate + part) as u64).rotate_left(32);
        let RegularisationRecipe { drop_path: path, dropout: values, .. } = recipe.regularisation;
        let drop = DropRates { path, values, seed };
        let consistency = recipe.consistency.as_ref().zip(self.second.as_ref()).map(|(with, second)| {
            Consistency { reduction: second.at(self.step), weight: with.weight, above: with.above }
        });
        let (reduction, recompute) = (self.course.at(self.step), recipe.train.recompute);
        let pass = Pass { reduction, drop, recompute, consistency, class_head: recipe.train.class_head };
        let share = 1.0 / accumulate as f64;
        match self.setup.replicas.as_slice() {
            [_] => {
                let input = batch.into_input(&shape.input, device);
                pass.gradients(&self.network, input, target, share)
            }
            devices => {
                pass.gradients_apart(&self.network, devices, device, &batch, &shape.input, &target, share)
            }
        }
    }

    fn tell_failures(&mut self, batch: &TrainBatch, observer: &mut dyn Observer) {
        for (_, reason) in &batch.failed {
            if !self.told.contains(reason) {
                observer.event(Event::Unreadable(reason));
                self.told.push(reason.clone());
            }
        }
    }

    fn at_end(&self) -> bool {
        self.step == self.schedule.steps()
    }

    /// Whether this many epochs have just ended, or all.
    fn after_epochs(&self, epochs: usize) -> bool {
        self.step > 0 && (self.step.is_multiple_of(epochs * self.steps_per_epoch) || self.at_end())
    }

    fn checkpoint_due(&self) -> bool {
        let train = &self.setup.recipe.train;
        let by_steps = train.checkpoint_steps.is_some_and(|steps| self.step.is_multiple_of(steps));
        by_steps || self.after_epochs(train.checkpoint_epochs)
    }

    fn save(&mut self, observer: &mut dyn Observer) -> Result<(), TrainError> {
        if self.saved == Some(self.step) {
            return Ok(());
        }
        let position = Position {
            step: self.step,
            images: self.setup.data.train.len(),
            recipe: self.setup.recipe.to_toml(),
            optimizer: None,
        };
        let ema = self.ema.as_ref().map(|ema| read(ema.model()));
        let weights = read(&lora::merged(&self.network));
        let apart = self.setup.recipe.has_more_weights().then(|| read(&self.network));
        let (apart, ema) = (apart.as_ref(), ema.as_ref());
        match self.checkpoints.save(&self.setup, &position, &weights, apart, ema, &self.optimizer)? {
            Some(path) => observer.event(Event::Saved(&path)),
            None => {
                let (what, lr) = ("a weight", self.schedule.lr(self.step - 1));
                return Err(TrainError::NotFinite {
                    what,
                    step: self.step,
                    lr,
                    kept: self.checkpoints.kept(),
                });
            }
        }
        self.saved = Some(self.step);
        Ok(())
    }

    fn validate_if_due(&mut self, observer: &mut dyn Observer) -> Result<(), TrainError> {
        // Before fine-tuning too: that is what it has to beat.
        let before = self.step == 0 && self.setup.origin == Origin::Given;
        let due = before || self.after_epochs(self.setup.recipe.train.validate_epochs);
        if due && !self.log.has_validation(self.step) {
            self.validated(observer)?;
        }
        Ok(())
    }

    /// Validates, logs it, and keeps the weights if they are the best so far.
    fn validated(&mut self, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let mut told = Vec::new();
        let mut validations = Vec::new();
        let averages = self.ema.as_ref().map(|ema| (Averaging::Ema, ema.model()));
        for (of, network) in [(Averaging::Model, &self.network)].into_iter().chain(averages) {
            observer.event(Event::Validating);
            let accuracies = validate(&self.setup, network, &self.validate, &mut |reason| told.push(reason));
            let accuracies = accuracies.map_err(|error| match error {
                TrainError::Validation(tokmerge_eval::EvalError::NotFinite(_)) => TrainError::NotFinite {
                    what: "an output of the model",
                    step: self.step,
                    lr: self.schedule.lr(self.step.saturating_sub(1)),
                    kept: self.checkpoints.kept(),
                },
                error => error,
            })?;
            let epoch = self.step.div_ceil(self.steps_per_epoch);
            let validation = Validation { epoch, step: self.step, of, accuracies };
            let best = self.checkpoints.best();
            if best.is_none_or(|best| validation.score() > best.top1) {
                let best = Best { step: self.step, top1: validation.score() };
                self.checkpoints.save_best(&self.setup, &read(&lora::merged(network)), best)?;
            }
            observer.event(Event::Validated(&validation));
            validations.push(validation);
        }
        if !self.log.has_validation(self.step) {
            for validation in &validations {
                let logged = self.log.validation(validation);
                logged.map_err(|error| self.checkpoints.cannot_write(self.log.validation_path(), &error))?;
            }
        }
        for reason in told {
            if !self.told.contains(&reason) {
                observer.event(Event::LeftOut(&reason));
                self.told.push(reason);
            }
        }
        self.last = validations;
        Ok(())
    }
}
