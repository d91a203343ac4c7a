// SPDX-License-Identifier: Apache-2.0
// The attributes of the asynchronous storage in NFSv3's terms, and back.
#pragma once

#include "plugins/common/async_storage.hpp"
#include "plugins/nfs/rpc/nfs3.hpp"

namespace gantry::nfs {

plugin::EntryAttributes AttributesOf(const Attributes& is);
// The type of a FIFO, socket or device.
FileType TypeOf(plugin::EntryKind kind);
// Times are those of the client, in seconds from 1970 to 2106 (RFC 1813 section 2.5).
SetAttributes ToSetAttributes(const plugin::AttributeChange& change);

}  // namespace gantry::nfs
