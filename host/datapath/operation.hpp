// SPDX-License-Identifier: Apache-2.0
// One operation that the plugin has been asked for: what it borrows from us (request, handles,
// buffer) lives here until its done, also when its caller has been answered before or the kernel
// has forgotten the node.
#pragma once

#include <gantry/datapath.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "host/datapath/nodes.hpp"
#include "host/datapath/slots.hpp"

namespace gantry::datapath {

// An operation's id: a number that is used once by all servers of the volume (the server's
// generation and a count), and where the operation is kept. Its repetition by a successor has the
// same id.
constexpr uint32_t kIndexBits = 16;
constexpr uint32_t kIndexMask = (1u << kIndexBits) - 1;
constexpr uint32_t kInternalIndex = 0xffff;  // open and close, which no slot stands for
constexpr uint32_t kRefreshIndex = 0xfffe;   // of disk_volume.hpp
static_assert(kSlotsMax < kRefreshIndex);
constexpr uint32_t kCountBits = 32;
constexpr uint64_t FirstSequence(uint32_t generation) { return uint64_t{generation} << kCountBits; }
constexpr gantry_op MakeId(uint64_t sequence, uint32_t index) {
  return (sequence << kIndexBits) | index;
}
constexpr uint32_t IndexOf(gantry_op id) { return id & kIndexMask; }

// Which done ends it; done_error ends all.
enum class Ending : uint8_t {
  kPlain,
  kAttributes,
  kNode,
  kTarget,
  kData,
  kWritten,
  kStatfs,
  kEntries,  // entry, then done
  kNone,     // no operation's
};

// Which part of a request that takes several operations of the plugin is under way, or comes next.
enum class Part : uint8_t {
  kOnly,      // the last one, or the only one
  kTruncate,  // CREATE with O_TRUNC: of the file that was there
  kLook,      // UNLINK, RENAME: whose name goes
  kHide,      // UNLINK, RENAME: an open file gets a name of ours
  kClean,     // RELEASE, or the same request where it was closed meanwhile: that name goes
};

// splitmix64: unique to the request within the volume, and the same in every replay of it.
constexpr uint64_t RequestNumber(uint64_t nonce, uint64_t unique) {
  uint64_t x = nonce + unique * 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

// The name that a removed file has while it is open (server_removal.cpp), with a NUL.
constexpr size_t kHiddenNameBytes = 20;
using HiddenName = std::array<char, kHiddenNameBytes + 1>;

// Zeroed memory with slack behind the struct, as the ABI promises (abi.h, rule 1).
class RequestMemory {
 public:
  template <class Request>
  Request* Make() {
    static_assert(sizeof(Request) <= kBytes / 2);
    bytes_.fill(0);
    auto* request = reinterpret_cast<Request*>(bytes_.data());
    request->size = sizeof(Request);
    return request;
  }

 private:
  static constexpr size_t kBytes = 512;
  alignas(16) std::array<char, kBytes> bytes_{};
};

// An entry of a READDIRPLUS that came with its node: which one, and where its entry_out lies in the
// buffer. It gets an id when the reply is whole, since ids that nothing counts on may be freed before.
struct NamedNode {
  size_t at;
  std::string handle;
};

// Beyond so many nodes that were changed while a READDIRPLUS was under way, all count as changed.
constexpr size_t kChangedNodesMax = 1024;

struct Operation {
  gantry_op id = 0;  // 0: none
  Slot slot;
  Ending ending = Ending::kPlain;
  Part part = Part::kOnly;
  bool saved = false;      // changes something: passes EXECUTING and EXECUTED
  bool started = false;    // the plugin has been asked
  bool replayed = false;   // a predecessor may have done it
  bool answered = false;   // before its done: the caller was interrupted
  bool opens = false;      // CREATE: the node is opened as well
  bool truncate = false;   // CREATE with O_TRUNC: the file is to be emptied first
  std::span<char> buffer;  // of the ReplyArena: READ, READDIR, xattrs
  size_t wanted = 0;       // bytes that the caller asked for
  size_t filled = 0;
  bool lists = false;             // READDIRPLUS, and the plugin has been asked
  std::vector<NamedNode> named;   // READDIRPLUS
  std::set<std::string> changed;  // READDIRPLUS: handles, since the plugin was asked
  HiddenName our_name{};
  uint64_t cleaned = 0;  // kClean: the node whose hidden name goes
  RequestMemory request;
  std::array<std::array<char, kHandleBytesMax>, 2> handles{};
  std::array<size_t, 2> handle_bytes{};

  // Copies a handle into `handles`.
  gantry_bytes Keep(size_t which, std::string_view handle) {
    std::memcpy(handles[which].data(), handle.data(), handle.size());
    handle_bytes[which] = handle.size();
    return Kept(which);
  }
  gantry_bytes Kept(size_t which) const { return {handles[which].data(), handle_bytes[which]}; }
  std::string_view Handle(size_t which) const {
    return {handles[which].data(), handle_bytes[which]};
  }
};

}  // namespace gantry::datapath
