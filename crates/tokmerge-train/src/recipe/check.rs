//! Rules that types cannot say. Every refusal names the key, its value and a way out.

use super::{DistillRecipe, OptimizerRecipe, Recipe, RecipeError, Recompute};
use std::fmt::Display;
use tokmerge_merge::Method;

fn refuse(key: &'static str, value: impl Display, rule: impl Into<String>) -> RecipeError {
    RecipeError::Value { key, value: value.to_string(), rule: rule.into() }
}

fn require(holds: bool, key: &'static str, value: impl Display, rule: &str) -> Result<(), RecipeError> {
    if holds { Ok(()) } else { Err(refuse(key, value, rule)) }
}

/// A chance or a part.
fn part(key: &'static str, value: f64) -> Result<(), RecipeError> {
    require((0.0..=1.0).contains(&value), key, value, "it must be from 0 to 1, and 0 turns it off")
}

fn positive(key: &'static str, value: f64) -> Result<(), RecipeError> {
    require(value.is_finite() && value > 0.0, key, value, "it must be above 0")
}

fn not_negative(key: &'static str, value: f64) -> Result<(), RecipeError> {
    require(value.is_finite() && value >= 0.0, key, value, "it must be 0 or more")
}

fn count(key: &'static str, value: usize, most: usize) -> Result<(), RecipeError> {
    require((1..=most).contains(&value), key, value, &format!("it must be from 1 to {most}"))
}

impl Recipe {
    pub(super) fn check(&self) -> Result<(), RecipeError> {
        spec("merge", &self.merge)?;
        self.check_model()?;
        self.check_data()?;
        self.check_optimizer()?;
        self.check_train()?;
        self.check_schedule()?;
        self.check_regularisation()?;
        self.check_distill()?;
        self.check_consistency()?;
        self.check_course()?;
        self.check_lora()?;
        self.check_routing()
    }

    fn check_distill(&self) -> Result<(), RecipeError> {
        let Some(distill) = &self.distill else { return Ok(()) };
        spec("distill.merge", &distill.merge)?;
        not_negative("distill.answers", distill.answers)?;
        not_negative("distill.tokens", distill.tokens)?;
        not_negative("distill.embedding", distill.embedding)?;
        let weight = distill.weight();
        let others = distill.answers + distill.tokens + distill.embedding;
        let rule = "it is the teacher's part of the target, above 0 and at most 1; leave the section out for none, or give distill.answers or another weight";
        require((0.0..=1.0).contains(&weight) && weight + others > 0.0, "distill.weight", weight, rule)?;
        let rule = "distill.weight says it too, as a part of the target; leave one of them out";
        require(weight == 0.0 || distill.answers == 0.0, "distill.answers", distill.answers, rule)?;
        self.check_distilled_tokens(distill)?;
        let rule = "the teacher is the model before training, and without model.weights that knows nothing; give model.weights, or leave the section out";
        require(self.model.weights.is_some(), "distill", "given", rule)
    }

    /// Refuses a loss of tokens where they cannot be told apart.
    fn check_distilled_tokens(&self, distill: &DistillRecipe) -> Result<(), RecipeError> {
        let tokens = distill.tokens;
        if tokens == 0.0 {
            return Ok(());
        }
        let masks = self.merge.parse().is_ok_and(|method: Method| method.masks_in_place());
        let rule = format!(
            "merge = \"{}\" does not mask patches before blocks in training, as dynamicvit and sp_vit do, and what it leaves is not the teacher's; leave it out",
            self.merge
        );
        require(masks, "distill.tokens", tokens, &rule)?;
        let rule = "the same tokens are wanted of the teacher, which merges; give \"none\", or leave distill.tokens out";
        require(distill.merge == "none", "distill.merge", format!("\"{}\"", distill.merge), rule)?;
        let rule = "train.random_merge merges otherwise in some steps; leave one of them out";
        require(self.train.random_merge.is_empty(), "distill.tokens", tokens, rule)
    }

    fn check_consistency(&self) -> Result<(), RecipeError> {
        let Some(consistency) = &self.consistency else { return Ok(()) };
        let key = "consistency.merge";
        let rule = "give at least one way of merging less, e.g. [\"none\"]";
        require(!consistency.merge.is_empty(), key, "[]", rule)?;
        without_weights(key, &consistency.merge)?;
        positive("consistency.weight", consistency.weight)?;
        let above = consistency.above;
        let rule = "it is a probability from 0 to below 1, and 0 lets all items count";
        require((0.0..1.0).contains(&above), "consistency.above", above, rule)?;
        let rule = "of two passes the blocks would have to run again; leave it out";
        let recomputes = self.train.recompute == Recompute::Blocks;
        require(!recomputes, "train.recompute", self.train.recompute, rule)
    }

    /// What merges in which step.
    fn check_course(&self) -> Result<(), RecipeError> {
        let schedule = &self.schedule;
        not_negative("schedule.merge_start_epoch", schedule.merge_start_epoch)?;
        not_negative("schedule.merge_rise_epochs", schedule.merge_rise_epochs)?;
        let key = "schedule.merge_rise_epochs";
        let (rise, drawn) =
            (schedule.merge_start_epoch + schedule.merge_rise_epochs, &self.train.random_merge);
        let end = format!("with the start it must not be above train.epochs, {}", self.train.epochs);
        require(rise <= self.train.epochs as f64, key, schedule.merge_rise_epochs, &end)?;
        if schedule.merge_before != "none" {
            self.check_merge_before()?;
        } else if rise > 0.0 {
            let known = self.merge.parse().is_ok_and(|method: Method| method.in_part(0.5).is_some());
            let rule = format!(
                "merge = \"{}\" is not known in parts, as evit, tome and tofu are; leave it out, with schedule.merge_start_epoch",
                self.merge
            );
            require(known, key, schedule.merge_rise_epochs, &rule)?;
            let rule = "a rise is one of merge alone, and train.random_merge is given; leave one of them out";
            require(drawn.is_empty(), key, schedule.merge_rise_epochs, rule)?;
        }
        if drawn.is_empty() {
            return Ok(());
        }
        without_weights("train.random_merge", drawn)?;
        let rule = "the trained model says that it was trained with merge; give one of train.random_merge";
        let listed = drawn.contains(&self.merge);
        require(listed, "merge", format!("\"{}\"", self.merge), rule)
    }

    /// Of another way of merging in the first epochs.
    fn check_merge_before(&self) -> Result<(), RecipeError> {
        let (schedule, key) = (&self.schedule, "schedule.merge_before");
        without_weights(key, std::slice::from_ref(&schedule.merge_before))?;
        let given = format!("\"{}\"", schedule.merge_before);
        let rule = "it is for the epochs before schedule.merge_start_epoch, which is 0; give that too";
        require(schedule.merge_start_epoch > 0.0, key, &given, rule)?;
        let rule = "with schedule.merge_rise_epochs merging rises from nothing; leave one of them out";
        require(schedule.merge_rise_epochs == 0.0, key, &given, rule)?;
        let rule = "train.random_merge draws how every step merges; leave one of them out";
        require(self.train.random_merge.is_empty(), key, &given, rule)?;
        let rule = format!(
            "merge = \"{}\" has weights of its own, which would learn nothing in those epochs; leave it out",
            self.merge
        );
        let has_weights = self.merge.parse().is_ok_and(|method: Method| method.has_weights());
        require(!has_weights, key, &given, &rule)
    }

    fn check_lora(&self) -> Result<(), RecipeError> {
        let Some(lora) = &self.lora else { return Ok(()) };
        count("lora.rank", lora.rank, 1 << 14)?;
        lora.alpha.map_or(Ok(()), |alpha| positive("lora.alpha", alpha))?;
        let rule = "name at least one kind of linear layer, e.g. [\"qkv\"]";
        require(!lora.targets.is_empty(), "lora.targets", "[]", rule)?;
        let rule = "additions to random weights that are never trained learn little; give model.weights, or leave the section out";
        require(self.model.weights.is_some(), "lora", "given", rule)
    }

    fn check_routing(&self) -> Result<(), RecipeError> {
        let Some(routing) = &self.routing else { return Ok(()) };
        if let Err(error) = routing.training() {
            return Err(refuse("routing.places", format!("\"{}\"", routing.places), error.to_string()));
        }
        not_negative("routing.noise", routing.noise)?;
        not_negative("routing.importance", routing.importance)?;
        not_negative("routing.load", routing.load)?;
        let rule =
            "without noise nobody can say what load to expect; give routing.load = 0, or some routing.noise";
        require(routing.noise > 0.0 || routing.load == 0.0, "routing.load", routing.load, rule)
    }

    fn check_model(&self) -> Result<(), RecipeError> {
        let model = &self.model;
        let shape = [
            ("model.patch_size", model.patch_size),
            ("model.embed_dim", model.embed_dim),
            ("model.depth", model.depth),
            ("model.num_heads", model.num_heads),
        ];
        match &model.name {
            None => {
                for (key, value) in shape {
                    let rule = "without model.name, patch_size, embed_dim, depth and num_heads say what the model is; give all four, or a name such as vit_small_patch16_224";
                    value.ok_or_else(|| refuse(key, "missing", rule))?;
                }
                if let Some(weights) = &model.weights {
                    let rule = "weights belong to a model with a name; give model.name too";
                    return Err(refuse("model.weights", weights, rule));
                }
            }
            Some(name) => {
                let frames = model.num_frames.filter(|_| model.weights.is_some());
                if let Some(frames) = frames {
                    let rule = "the weights have their own number of frames; leave it out";
                    return Err(refuse("model.num_frames", frames, rule));
                }
                if let (true, Some((key, value))) =
                    (model.weights.is_some(), shape.iter().find_map(|(key, value)| Some((*key, (*value)?))))
                {
                    let rule = format!(
                        "the weights of {name} have their own shape; leave it out, or leave out model.weights"
                    );
                    return Err(refuse(key, value, rule));
                }
            }
        }
        if let (Some(_), Some(tokenizer)) = (&model.weights, &model.tokenizer) {
            let rule = "the weights have their own tokenizer beside them; leave it out";
            return Err(refuse("model.tokenizer", tokenizer.display(), rule));
        }
        if let (Some(_), Some(part)) = (&model.weights, model.parts.keys().next()) {
            let rule = "the weights are those of the whole; leave one of them out";
            return Err(refuse("model.parts", part, rule));
        }
        for (key, value) in shape {
            value.map_or(Ok(()), |value| count(key, value, 1 << 14))?;
        }
        model.num_frames.map_or(Ok(()), |frames| count("model.num_frames", frames, 4096))?;
        model.num_classes.map_or(Ok(()), |classes| count("model.num_classes", classes, 1 << 20))?;
        model.img_size.map_or(Ok(()), |size| count("model.img_size", size, 16_384))?;
        model.mlp_ratio.map_or(Ok(()), |ratio| positive("model.mlp_ratio", ratio))
    }

    fn check_data(&self) -> Result<(), RecipeError> {
        let data = &self.data;
        match (&data.val, data.split) {
            (Some(_), Some(split)) => {
                Err(refuse("data.split", split, "data.val is given too; leave one of them out"))
            }
            (None, None) => Err(refuse(
                "data.val",
                "missing",
                "nothing could be validated; give a folder, or data.split = 0.1 to hold out a tenth of the training images",
            )),
            (None, Some(split)) => require(
                split > 0.0 && split < 1.0,
                "data.split",
                split,
                "it is the part that is held out, above 0 and below 1, e.g. 0.1",
            ),
            (Some(_), None) => Ok(()),
        }?;
        data.max_tokens.map_or(Ok(()), |tokens| count("data.max_tokens", tokens, 1 << 20))?;
        count("data.workers", data.workers, 1024)
    }

    fn check_optimizer(&self) -> Result<(), RecipeError> {
        match &self.optimizer {
            OptimizerRecipe::AdamW(adam) | OptimizerRecipe::Adam(adam) => {
                for beta in adam.betas {
                    let rule = "each must be from 0 to below 1, e.g. [0.9, 0.999]";
                    require((0.0..1.0).contains(&beta), "optimizer.betas", beta, rule)?;
                }
                positive("optimizer.eps", adam.eps)?;
                not_negative("optimizer.weight_decay", adam.weight_decay)
            }
            OptimizerRecipe::Adafactor(adafactor) => {
                positive("optimizer.eps", adafactor.eps)?;
                positive("optimizer.clip_threshold", adafactor.clip_threshold)?;
                let decay = adafactor.decay_rate;
                let rule = "it must be below 0, e.g. -0.8";
                require(decay.is_finite() && decay < 0.0, "optimizer.decay_rate", decay, rule)?;
                not_negative("optimizer.weight_decay", adafactor.weight_decay)
            }
            OptimizerRecipe::Sgd(sgd) => {
                let rule = "it must be from 0 to below 1, e.g. 0.9";
                require((0.0..1.0).contains(&sgd.momentum), "optimizer.momentum", sgd.momentum, rule)?;
                not_negative("optimizer.weight_decay", sgd.weight_decay)
            }
        }
    }

    fn check_schedule(&self) -> Result<(), RecipeError> {
        let schedule = &self.schedule;
        positive("schedule.lr", schedule.lr)?;
        schedule.lr_batch.map_or(Ok(()), |images| count("schedule.lr_batch", images, 1 << 20))?;
        not_negative("schedule.warmup_lr", schedule.warmup_lr)?;
        not_negative("schedule.min_lr", schedule.min_lr)?;
        let peak = self.peak_lr();
        let rule = format!("it is where the learning rate ends, and must not be above its peak, {peak:e}");
        require(schedule.min_lr <= peak, "schedule.min_lr", schedule.min_lr, &rule)?;
        not_negative("schedule.warmup_epochs", schedule.warmup_epochs)?;
        let rule = format!("it must not be above train.epochs, {}", self.train.epochs);
        let fits = schedule.warmup_epochs <= self.train.epochs as f64;
        require(fits, "schedule.warmup_epochs", schedule.warmup_epochs, &rule)?;
        let decay = schedule.layer_decay;
        let rule = "it must be above 0 and at most 1, and 1 lets all layers learn alike";
        require(decay > 0.0 && decay <= 1.0, "schedule.layer_decay", decay, rule)?;
        let scale = schedule.backbone_scale;
        let rule = "it must be above 0 and at most 1; train.frozen leaves weights as they are";
        require(scale > 0.0 && scale <= 1.0, "schedule.backbone_scale", scale, rule)?;
        let has_weights = self.merge.parse().is_ok_and(|method: Method| method.has_weights());
        let without = |what: &str| {
            format!(
                "merge = \"{}\" has no weights of its own, which alone would learn {what}; leave it out",
                self.merge
            )
        };
        require(scale == 1.0 || has_weights, "schedule.backbone_scale", scale, &without("faster"))?;
        let (key, start) = ("schedule.backbone_start_epoch", schedule.backbone_start_epoch);
        not_negative(key, start)?;
        require(start == 0.0 || has_weights, key, start, &without("at first"))?;
        let rule = format!("it must be below train.epochs, {}", self.train.epochs);
        require(start == 0.0 || start < self.train.epochs as f64, key, start, &rule)
    }

    fn check_regularisation(&self) -> Result<(), RecipeError> {
        let with = &self.regularisation;
        let smoothing = with.label_smoothing;
        let rule = "it must be from 0 to below 1, e.g. 0.1";
        require((0.0..1.0).contains(&smoothing), "regularisation.label_smoothing", smoothing, rule)?;
        part("regularisation.flip", with.flip)?;
        part("regularisation.drop_path", with.drop_path)?;
        part("regularisation.random_erasing", with.random_erasing)?;
        let rule = "it must be from 0 to below 1, and 0 turns it off";
        require((0.0..1.0).contains(&with.dropout), "regularisation.dropout", with.dropout, rule)?;
        not_negative("regularisation.mixup", with.mixup)?;
        not_negative("regularisation.cutmix", with.cutmix)?;
        let rule = "it is in seconds, from 0 to 60, and 0 turns it off";
        require((0.0..=60.0).contains(&with.shift), "regularisation.shift", with.shift, rule)?;
        let rule = "it is in decibels, from 0 to 60, and 0 turns it off";
        require((0.0..=60.0).contains(&with.gain), "regularisation.gain", with.gain, rule)?;
        let augment = with.augment().and_then(|augment| augment.validate());
        augment.map_err(|error| refuse("regularisation", "an augmentation", error.to_string()))?;
        let mix = with.mix().map_or(Ok(()), |mix| mix.validate());
        mix.map_err(|error| refuse("regularisation", "a mix", error.to_string()))
    }

    fn check_train(&self) -> Result<(), RecipeError> {
        let train = &self.train;
        // None leaves given weights as they are.
        if train.epochs > 0 || self.model.weights.is_none() {
            count("train.epochs", train.epochs, 1 << 20)?;
        }
        count("train.batch_size", train.batch_size, 1 << 16)?;
        count("train.accumulate", train.accumulate, 1 << 16)?;
        count("train.checkpoint_epochs", train.checkpoint_epochs, 1 << 20)?;
        count("train.validate_epochs", train.validate_epochs, 1 << 20)?;
        train.checkpoint_steps.map_or(Ok(()), |steps| count("train.checkpoint_steps", steps, 1 << 40))?;
        count("train.replicas", train.replicas, 1024)?;
        train.threads.map_or(Ok(()), |threads| count("train.threads", threads, 1024))?;
        train.clip_grad.map_or(Ok(()), |length| positive("train.clip_grad", length))?;
        if let Some(weight) = train.class_head {
            let rule = "it is the part of the loss that a head on the class token has, above 0 and below 1, e.g. 0.5";
            require(weight > 0.0 && weight < 1.0, "train.class_head", weight, rule)?;
            let rule = "with the section lora only what it names is trained, which a new head is not; leave one of them out";
            require(self.lora.is_none(), "train.class_head", weight, rule)?;
        }
        if let Some(ema) = train.ema {
            let rule = "it is the part of the average that stays, above 0 and below 1, e.g. 0.9999";
            require(ema > 0.0 && ema < 1.0, "train.ema", ema, rule)?;
        }
        let specs = self.validate_specs();
        if specs.is_empty() {
            return Err(refuse("train.validate", "[]", "give at least one way of merging, e.g. [\"none\"]"));
        }
        specs.iter().try_for_each(|text| spec("train.validate", text))
    }
}

/// Ways of merging that bring no weights of their own.
fn without_weights(key: &'static str, specs: &[String]) -> Result<(), RecipeError> {
    for text in specs {
        spec(key, text)?;
        let has_weights = text.parse().is_ok_and(|method: Method| method.has_weights());
        let rule = "it has weights of its own, and those of merge alone are trained; leave it out";
        require(!has_weights, key, format!("\"{text}\""), rule)?;
    }
    Ok(())
}

fn spec(key: &'static str, text: &str) -> Result<(), RecipeError> {
    match text.parse::<Method>() {
        Ok(_) => Ok(()),
        Err(error) => Err(refuse(key, format!("\"{text}\""), error.to_string())),
    }
}
