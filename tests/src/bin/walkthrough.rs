//! Starts a gateway with everything around it, walks through the product, and stays up until Ctrl-C.

use std::io::stdout;
use std::process::ExitCode;

use clap::Parser;
use tollgate_tests::walkthrough::{Demo, Script, walk};

/// Starts Redis, the control plane, a demo upstream and Envoy with the filter, and walks through the product.
#[derive(Parser)]
struct Arguments {
    /// End by itself after the walk; the exit status says whether every step held.
    #[arg(long)]
    once: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let mut demo = Demo::start().await?;
    let mut script = Script::new(stdout().lock(), demo.variables()?);
    if let Err(failed) = walk(&mut demo, &mut script).await {
        eprintln!("\nThis step did not hold: {failed}\n{}", demo.logs());
        return Ok(ExitCode::FAILURE);
    }
    script.say("\nEvery step held.");
    if !arguments.once {
        let variables = std::env::current_exe()?.with_file_name("tollgate-demo.env");
        std::fs::write(&variables, script.variables())?;
        let source = format!(
            "\n`source {}` sets the variables of the commands. Ctrl-C ends it.",
            variables.display()
        );
        script.say(&format!("\n{}{source}", demo.addresses()));
        tokio::signal::ctrl_c().await?;
    }
    Ok(ExitCode::SUCCESS)
}
