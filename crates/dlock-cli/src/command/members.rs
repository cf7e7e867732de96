//! `dlockctl members`.

use super::shown::Member;
use crate::arguments::Global;
use crate::exit::Exit;
use crate::output;

pub(crate) async fn run(global: &Global) -> Result<u8, Exit> {
    let client = super::client(global).await?;
    let members: Vec<Member> = client.query().list_members().await?.into_iter().map(Member::from).collect();
    output::rows(global.output, &["MEMBER", "ADDRESS", "VERSION", "STARTED", "STATE"], &members, |member| {
        let state = match (member.dead, member.this) {
            (true, _) => "silent",
            (false, true) => "answers",
            (false, false) => "",
        };
        let (version, started) = (member.version.clone(), member.started.clone());
        vec![member.member.clone(), member.address.clone(), version, started, state.to_owned()]
    })?;
    Ok(0)
}
