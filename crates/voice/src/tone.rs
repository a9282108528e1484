//! Tones made here, and samples brought from one rate to another.

mod resample;

use std::f64::consts::TAU;
use std::time::Duration;

pub use resample::{Resampler, resampled};

use crate::Clip;

/// A sine of this frequency and level (dBov of a sine: −3 is the loudest), with edges of 5 ms so that it does not click.
#[must_use]
pub fn sine(rate: u32, frequency: f64, level: f32, duration: Duration) -> Clip {
    let count = (u128::from(rate) * duration.as_nanos() / 1_000_000_000) as usize;
    let amplitude = 32_768.0 * 10_f64.powf(f64::from(level) / 20.0) * std::f64::consts::SQRT_2;
    let edge = (f64::from(rate) * 0.005).max(1.0);
    let sample = |at: usize| {
        let from_edge = at.min(count - 1 - at) as f64;
        let shape = ((from_edge + 1.0) / edge).min(1.0);
        let phase = TAU * frequency * at as f64 / f64::from(rate);
        (phase.sin() * amplitude * shape).round().clamp(-32_768.0, 32_767.0) as i16
    };
    Clip::new(rate, (0..count).map(sample).collect())
}

/// The beep after which a message begins.
#[must_use]
pub fn beep(rate: u32) -> Clip {
    sine(rate, 1_000.0, -15.0, Duration::from_millis(250))
}

/// Nothing, for so long.
#[must_use]
pub fn pause(rate: u32, duration: Duration) -> Clip {
    Clip::new(rate, vec![0; (u128::from(rate) * duration.as_nanos() / 1_000_000_000) as usize])
}

/// The frequency of a clean tone in Hz, by its crossings of zero. For tests of what was heard, here and elsewhere.
#[must_use]
pub fn frequency(rate: u32, samples: &[i16]) -> f64 {
    let crossing = |pair: &[i16]| {
        (pair[0] < 0 && pair[1] >= 0)
            .then(|| f64::from(-i32::from(pair[0])) / f64::from(i32::from(pair[1]) - i32::from(pair[0])))
    };
    let at: Vec<f64> =
        samples.windows(2).enumerate().filter_map(|(at, pair)| Some(at as f64 + crossing(pair)?)).collect();
    match (at.first(), at.last()) {
        (Some(first), Some(last)) if last > first => (at.len() - 1) as f64 * f64::from(rate) / (last - first),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level;

    #[test]
    fn a_beep_is_a_beep() {
        for rate in [8_000, 16_000, 48_000] {
            let beep = beep(rate);
            assert_eq!(beep.duration(), Duration::from_millis(250));
            assert!((frequency(rate, beep.samples()) - 1_000.0).abs() < 1.0);
            assert!((level::dbov(beep.samples()) + 15.0).abs() < 0.5);
            assert!(
                beep.samples()[0].abs() < 200 && beep.samples()[beep.samples().len() - 1].abs() < 200,
                "it does not click"
            );
        }
    }

    #[test]
    fn short_ones_do_no_harm() {
        assert!(sine(8_000, 100.0, 0.0, Duration::ZERO).samples().is_empty());
        assert_eq!(sine(8_000, 100.0, 40.0, Duration::from_micros(125)).samples().len(), 1);
        assert_eq!((frequency(8_000, &[]), frequency(8_000, &[1; 100])), (0.0, 0.0));
        assert_eq!(pause(8_000, Duration::from_millis(10)).samples(), [0; 80]);
    }
}
