//! dlockctl, the command line of dlock.
