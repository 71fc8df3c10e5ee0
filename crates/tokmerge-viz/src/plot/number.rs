//! Numbers as people write them.

/// The multiples of `step` numbered by `indices`, with as many decimals as the step has, all alike.
///
/// `step` is 1, 2 or 5 times a power of ten.
pub(super) fn multiples(indices: std::ops::RangeInclusive<i64>, step: f64) -> Vec<String> {
    let largest = indices.start().unsigned_abs().max(indices.end().unsigned_abs()) as f64 * step;
    let decimals = -exponent(step);
    if largest < 1e7 && decimals <= 5 {
        return indices.map(|k| plain(k as f64 * step, decimals.max(0) as usize)).collect();
    }
    let power = exponent(largest);
    let digits = (power + decimals).max(0) as usize;
    let label = |k| {
        // Divided before multiplied: the power of a tiny number may be too large for a float.
        let mantissa = k as f64 * (step / 10f64.powi(power));
        if k == 0 { "0".into() } else { format!("{mantissa:.digits$}×{}", power_of_ten(power)) }
    };
    indices.map(label).collect()
}

/// `digit * 10^power`, as decimals where that is short.
pub(super) fn in_decade(digit: u8, power: i32) -> String {
    match power {
        -4..=5 => plain(f64::from(digit) * 10f64.powi(power), power.min(0).unsigned_abs() as usize),
        _ if digit == 1 => power_of_ten(power),
        _ => format!("{digit}×{}", power_of_ten(power)),
    }
}

/// `10^power` with a raised power.
pub(super) fn power_of_ten(power: i32) -> String {
    let raised = |c| match c {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        digit => char::from_u32('⁰' as u32 + digit as u32 - '0' as u32).unwrap_or(digit),
    };
    format!("10{}", power.to_string().chars().map(raised).collect::<String>())
}

/// A value to be read alone: whole numbers in full, others with four significant digits.
pub(super) fn short(value: f64) -> String {
    let power = exponent(value);
    if value == 0.0 {
        return "0".into();
    }
    if value.fract() == 0.0 && value.abs() < 1e7 {
        return plain(value, 0);
    }
    if !(-4..7).contains(&power) {
        return format!("{value:.3e}");
    }
    plain(value, (3 - power).max(0) as usize)
}

/// The power of ten a value begins with: 2 for 314, -2 for 0.05.
pub(super) fn exponent(value: f64) -> i32 {
    // A step such as 1e-5 may be a hair below the power it stands for.
    (value.abs().log10() + 1e-9).floor() as i32
}

/// A fixed number of decimals, thousands separated from five digits on, and a minus sign.
fn plain(value: f64, decimals: usize) -> String {
    let text = format!("{:.decimals$}", value.abs());
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut out = String::new();
    if value < 0.0 && text.contains(|c| matches!(c, '1'..='9')) {
        out.push('−');
    }
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && whole.len() > 4 && (whole.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out + fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_share_their_decimals() {
        assert_eq!(multiples(-1..=2, 0.5), ["−0.5", "0.0", "0.5", "1.0"]);
        assert_eq!(multiples(2..=3, 5000.0), ["10,000", "15,000"]);
        assert_eq!(multiples(0..=2, 5e8), ["0", "0.5×10⁹", "1.0×10⁹"]);
        assert_eq!(multiples(8..=10, 1e-7), ["0.8×10⁻⁶", "0.9×10⁻⁶", "1.0×10⁻⁶"]);
        assert_eq!(multiples(1..=2, 2e-300), ["2×10⁻³⁰⁰", "4×10⁻³⁰⁰"]);
    }

    #[test]
    fn decades_are_decimals_while_short() {
        assert_eq!(in_decade(2, -3), "0.002");
        assert_eq!(in_decade(1, 5), "100,000");
        assert_eq!(in_decade(1, -12), "10⁻¹²");
        assert_eq!(in_decade(5, 7), "5×10⁷");
    }

    #[test]
    fn single_values_have_four_digits() {
        for (value, text) in
            [(0.0, "0"), (12.0, "12"), (83.1416, "83.14"), (-0.001234, "−0.001234"), (1e9, "1.000e9")]
        {
            assert_eq!(short(value), text);
        }
    }
}
