//! The images stand up, and terminals in containers are served.

use super::docker;
use super::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_containers_serves_terminals_in_containers() {
    let world = World::set_up(12).await;
    world.beats(30).await;
    for node in &world.nodes {
        let name = &node.running.name;
        world
            .until("its own health check calls a node healthy", async || docker::health(name) == "healthy")
            .await;
    }
    for agent in &world.agents {
        world.until("an agent is answered", async || agent.acknowledged().len() > 2).await;
    }
    world.nothing_is_lost().await;
}
