//! `dlockctl completions` and `dlockctl man`.

use crate::arguments::{Arguments, Completions, Man};
use crate::exit::Exit;
use clap::CommandFactory;
use std::io;

pub(crate) fn completions(arguments: &Completions) -> Result<u8, Exit> {
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "dlockctl", &mut io::stdout());
    Ok(0)
}

pub(crate) fn man(arguments: &Man) -> Result<u8, Exit> {
    std::fs::create_dir_all(&arguments.directory).map_err(Exit::system)?;
    clap_mangen::generate_to(Arguments::command(), &arguments.directory).map_err(Exit::system)?;
    Ok(0)
}
