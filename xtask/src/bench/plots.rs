//! The results as pictures.

use super::results::{Results, number};
use anyhow::{Result, anyhow};
use plotters::prelude::*;
use serde_json::Value;
use std::path::Path;

const SIZE: (u32, u32) = (760, 420);

/// A line of a picture.
struct Line {
    name: &'static str,
    points: Vec<(f64, f64)>,
}

/// Draws all that there are results for into a directory.
pub(crate) fn draw(results: &Results, directory: &Path) -> Result<()> {
    std::fs::create_dir_all(directory)?;
    let of = |part: &str, filter: &dyn Fn(&Value) -> bool, x: &str, y: &dyn Fn(&Value) -> Option<f64>| {
        let rows = results.rows(part).iter().filter(|row| filter(row));
        let points: Vec<_> = rows.filter_map(|row| Some((number(row, x)?, y(row)?))).collect();
        points
    };
    let all = |_: &Value| true;
    let driven_by = |driver: &'static str| move |row: &Value| row["driver"] == driver;
    let rate = |row: &Value| number(row, "/pairs_per_second");
    let floor = |row: &Value| Some(number(row, "/floor/echoes_per_second")? / 2.0);
    let pairs = [
        Line { name: "two stream echoes", points: of("streams", &driven_by("load"), "/in_flight", &floor) },
        Line { name: "in memory", points: of("streams", &driven_by("load"), "/in_flight", &rate) },
        Line { name: "durable", points: of("durable", &all, "/in_flight", &rate) },
        Line { name: "two unary echoes", points: of("unary", &all, "/in_flight", &floor) },
        Line { name: "in memory, unary calls", points: of("unary", &all, "/in_flight", &rate) },
    ];
    let axes = ["locks under way at a time", "pairs per second"];
    chart(&directory.join("pairs.svg"), "Embedded store: uncontended pairs", axes, &pairs)?;
    let quantile = |pointer: &'static str| move |row: &Value| number(row, pointer).map(|us| us / 1000.0);
    let latencies = [
        Line { name: "p50", points: of("rates", &all, "/rate", &quantile("/pair/p50")) },
        Line { name: "p99", points: of("rates", &all, "/rate", &quantile("/pair/p99")) },
        Line { name: "p99.9", points: of("rates", &all, "/rate", &quantile("/pair/p999")) },
    ];
    let axes = ["pairs per second asked for", "milliseconds for a pair, from when it was due"];
    chart(&directory.join("latency.svg"), "Embedded store in memory: latency by rate", axes, &latencies)?;
    for store in results.rows("stores") {
        let points = |field: &str| -> Vec<(f64, f64)> {
            let rows = store["pairs"].as_array().map_or(&[][..], Vec::as_slice).iter();
            rows.filter_map(|row| Some((number(row, "/in_flight")?, number(row, field)?))).collect()
        };
        let lines = [
            Line { name: "raw", points: points("/raw_per_second") },
            Line { name: "recipe", points: points("/recipe_per_second") },
            Line { name: "dlock", points: points("/dlock_per_second") },
        ];
        let name = store["backend"].as_str().unwrap_or_default();
        let title = format!("{}: uncontended pairs", store["title"].as_str().unwrap_or_default());
        let axes = ["locks under way at a time", "pairs per second"];
        chart(&directory.join(name).with_extension("svg"), &title, axes, &lines)?;
    }
    Ok(())
}

/// Lines over two logarithmic axes; nothing if there is no line.
fn chart(path: &Path, title: &str, [x, y]: [&str; 2], lines: &[Line]) -> Result<()> {
    let points = || lines.iter().flat_map(|line| line.points.iter().copied());
    if points().count() < 2 {
        return Ok(());
    }
    let range = |values: &mut dyn Iterator<Item = f64>| {
        let (least, most) = values.fold((f64::MAX, 0.0f64), |(least, most), v| (least.min(v), most.max(v)));
        (least / 1.3)..(most * 1.3)
    };
    let (across, up) = (range(&mut points().map(|point| point.0)), range(&mut points().map(|point| point.1)));
    let failed = |error: &dyn std::fmt::Display| anyhow!("{}: {error}", path.display());
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE).map_err(|error| failed(&error))?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(42)
        .y_label_area_size(78)
        .build_cartesian_2d(across.log_scale(), up.log_scale())
        .map_err(|error| failed(&error))?;
    let label = |value: &f64| super::document::shown(Some(*value)).trim_end_matches(".00").to_owned();
    chart
        .configure_mesh()
        .x_desc(x)
        .y_desc(y)
        .x_label_formatter(&label)
        .y_label_formatter(&label)
        .light_line_style(WHITE)
        .draw()
        .map_err(|error| failed(&error))?;
    for (index, line) in lines.iter().enumerate().filter(|(_, line)| !line.points.is_empty()) {
        let color = Palette99::pick(index).to_rgba();
        let drawn = LineSeries::new(line.points.iter().copied(), color.stroke_width(2)).point_size(3);
        chart
            .draw_series(drawn)
            .map_err(|error| failed(&error))?
            .label(line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.2))
        .draw()
        .map_err(|error| failed(&error))?;
    area.present().map_err(|error| failed(&error))
}
