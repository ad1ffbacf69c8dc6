//! The data plane that clients are told of.

use std::net::{IpAddr, SocketAddr};

use axum::http::StatusCode;
use snap_control::api::crpc::model::{SnapDataPlane, SnapDataPlaneResolver};
use snaptun_peers::{Key, KeyPair, PacketHandler, PeerServerOptions, SnapTunPeerServer, Verdict};
use url::Url;
use x25519_dalek::PublicKey;

use crate::Failure;

/// Where a data plane is, and which key it has.
#[derive(Clone, Copy)]
pub(crate) struct DataPlane {
    pub(crate) address: SocketAddr,
    pub(crate) public_key: Option<Key>,
}

impl DataPlane {
    /// Tells every client the same.
    pub(crate) fn resolver(self, registration_url: Option<Url>) -> impl SnapDataPlaneResolver {
        Fixed { data_plane: self, registration_url }
    }
}

struct Fixed {
    data_plane: DataPlane,
    registration_url: Option<Url>,
}

impl SnapDataPlaneResolver for Fixed {
    fn get_data_plane_address(
        &self,
        _client: IpAddr,
    ) -> Result<SnapDataPlane, (StatusCode, anyhow::Error)> {
        Ok(SnapDataPlane {
            address: self.data_plane.address,
            snap_tun_control_address: self.registration_url.clone(),
            snap_static_x25519: self.data_plane.public_key.map(PublicKey::from),
        })
    }
}

/// Sends every packet back.
struct Echo;

impl PacketHandler for Echo {
    fn packet(&mut self, _payload: &[u8], _remote: SocketAddr) -> Verdict {
        Verdict::Echo
    }
}

/// The crate `snap-tun`'s server. It runs until it is dropped.
pub(crate) struct EchoServer(SnapTunPeerServer<Echo>);

impl EchoServer {
    pub(crate) fn start() -> Result<Self, Failure> {
        let keys = KeyPair::generate()?;
        let options = PeerServerOptions::new(keys.private);
        Ok(Self(SnapTunPeerServer::start_with(options, Echo)?))
    }

    pub(crate) fn data_plane(&self) -> DataPlane {
        DataPlane { address: self.0.local_addr(), public_key: Some(self.0.public_key()) }
    }

    pub(crate) fn authorize(&self, identity: Key) {
        self.0.authorized().authorize(identity);
    }
}
