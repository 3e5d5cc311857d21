//! stub
use crate::channel::Channel;
use kernel::prelude::*;
use kernel::sync::Arc;
pub(crate) struct RegisteredDevice(Arc<Channel>);
impl RegisteredDevice {
    pub(crate) fn new(_p: &kernel::device::Device, c: Arc<Channel>) -> Result<Self> {
        Ok(Self(c))
    }
    pub(crate) fn add_channel(&self, _c: &Arc<Channel>) -> Result {
        Ok(())
    }
    pub(crate) fn remove_channel(&self, _c: &Arc<Channel>) {}
}
