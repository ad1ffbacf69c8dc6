//! What the control plane serves beside registration, which no test asks for: it has nothing to tell.

use endhost_api_models::{SegmentsDiscovery, SegmentsError};
use sciparse::{identifier::isd_asn::IsdAsn, segment::SegmentsPage};
use snap_control::model::{SnapUnderlay, UdpUnderlay, UnderlayDiscovery};

pub(crate) struct Nothing;

impl UnderlayDiscovery for Nothing {
    fn list_snap_underlays(&self) -> Vec<SnapUnderlay> {
        Vec::new()
    }

    fn list_udp_underlays(&self) -> Vec<UdpUnderlay> {
        Vec::new()
    }
}

#[async_trait::async_trait]
impl SegmentsDiscovery for Nothing {
    async fn list_segments(
        &self,
        _source: IsdAsn,
        _destination: IsdAsn,
        _page_size: i32,
        _page_token: String,
    ) -> Result<SegmentsPage, SegmentsError> {
        Err(SegmentsError::InvalidArgument("there are no segments here".into()))
    }
}
