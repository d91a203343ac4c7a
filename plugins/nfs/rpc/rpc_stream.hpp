// SPDX-License-Identifier: Apache-2.0
// One TCP connection's RPC traffic, with all its state in memory the caller gives: a heap block in
// the controller, a memfd in the data path, where a successor process must be able to go on in the
// middle of a record. libnfs' rpc_context was rejected for that reason: it keeps half-sent and
// half-read records in private heap.
//
// The region: StreamHeader | CallEntry[calls] | out ring | in ring. Positions are byte offsets in
// the TCP stream since the connection was made and never wrap; a byte at offset n lies at n modulo
// the ring's size. So what the kernel knows says where to go on: written W = tcpi_bytes_acked - 1 +
// SIOCOUTQ against out_tail, received R = tcpi_bytes_received - SIOCINQ against in_tail; ring bytes
// up to W and R are valid even where this process died before noting them. The socket must carry
// nothing else from its first byte on.
//
// A call's bytes stay in the out ring until it is answered, so that they can be sent again, under
// the same xid, where the connection itself was lost. Every update is ordered so that a death
// between two stores loses nothing: the entry is written before the bytes are published, a reply is
// delivered before its entry is freed (delivery is at least once across a death, exactly once
// otherwise).
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "plugins/nfs/rpc/rpc_message.hpp"

namespace gantry::nfs {

using TimePoint = std::chrono::steady_clock::time_point;
inline constexpr TimePoint kNoDeadline = TimePoint::max();

inline constexpr uint32_t kCallsInFlightMax = 1024;  // Entries in a table.
inline constexpr uint32_t kRingBytesMin = 16 * 1024;
inline constexpr uint32_t kRingBytesMax = 256 * 1024 * 1024;
// xids one region hands out at most: one port never sees an xid twice.
inline constexpr uint64_t kXidsPerPortMax = (uint64_t{1} << 32) - kCallsInFlightMax;
inline constexpr int kTransfersPerTurnMax = 32;  // send or recv calls in one On...able

struct StreamSizes {
  uint32_t out_bytes = 128 * 1024;  // Power of two.
  uint32_t in_bytes = 128 * 1024;   // Power of two; also the limit of one reply with its markers.
  uint32_t calls = 64;              // Power of two.
};

struct CallEntry {
  enum State : uint32_t {
    kFree = 0,
    kWaiting = 1,
    kAbandoned = 2,  // Its deadline has passed and was reported; the answer will be dropped.
    // Waiting, and all its bytes went over an earlier connection: the server may have executed it,
    // whatever becomes of this one, and whoever reads the answer.
    kWaitingAgain = 3,
  };
  std::atomic<uint32_t> state;
  uint32_t xid;
  uint32_t program;
  uint32_t procedure;
  uint64_t tag;
  int64_t deadline_ns;    // CLOCK_MONOTONIC; INT64_MAX for none.
  uint64_t record_begin;  // Its bytes in the out stream. A waiting entry whose record_end lies
  uint64_t record_end;    // beyond out_tail was never published.
};

struct StreamHeader {
  static constexpr uint64_t kMagic = 0x31435052'53464e47;  // "GNFSRPC1"
  static constexpr uint32_t kVersion = 1;

  std::atomic<uint64_t> magic;  // Written last.
  uint32_t version;
  uint32_t first_xid;
  StreamSizes sizes;
  uint32_t broken;                        // Not 0: the stream ended or made no sense.
  std::atomic<uint64_t> xids_used;        // The next xid is first_xid + xids_used.
  std::atomic<uint64_t> out_tail;         // Produced.
  std::atomic<uint64_t> out_sent;         // Given to the kernel, as far as was noted.
  std::atomic<uint64_t> out_head;         // Kept from here on.
  std::atomic<uint64_t> in_tail;          // Received, as far as was noted.
  std::atomic<uint64_t> in_head;          // Delivered.
  std::atomic<uint64_t> replies_dropped;  // With an xid that nobody waits for.
};

// A call's arguments without their type: `encode` writes what `object` holds at the ZDR's position,
// and `payload` (with its padding) follows. Only valid while Submit runs.
struct Arguments {
  const void* object = nullptr;
  bool (*encode)(const void* object, ZDR* zdr) = nullptr;
  std::span<const std::byte> payload;
};

struct Reply {
  uint32_t xid = 0;
  uint32_t procedure = 0;
  uint64_t tag = 0;
  bool repeated = false;  // Its call had been sent over an earlier connection already.
  ReplyHead head;
  // The results, for ReplyStatus::kSuccess; valid, and writable, only during the callback.
  std::span<std::byte> body;
};

// A call that got no answer.
struct Unanswered {
  uint32_t xid = 0;
  uint32_t procedure = 0;
  uint64_t tag = 0;
  // All its bytes were given to the kernel, of this connection or an earlier one, so the server may
  // execute it; when false, it can't.
  bool sent = false;
};

// One thread at a time. Never blocks. Owns neither region nor socket.
class RpcStream {
 public:
  // Callbacks may submit further calls, and must not destroy the stream.
  using OnReply = std::function<void(const Reply&)>;
  using OnUnanswered = std::function<void(const Unanswered&)>;

  static size_t RegionBytes(const StreamSizes& sizes);
  // Lays out a region (of RegionBytes, 4 KiB aligned) for a new connection. `first_xid` should be
  // random: a server remembers the xids of a port for minutes. kInvalid on bad sizes.
  static NfsResult<RpcStream> Create(std::span<std::byte> region, const StreamSizes& sizes,
                                     uint32_t first_xid);
  // Finds the state another RpcStream left in a region. kInvalid when it isn't one.
  static NfsResult<RpcStream> Open(std::span<std::byte> region);

  // After Open, where the connection still stands (a copy of the socket was kept): takes from the
  // kernel how far the stream went (tcp(7) TCP_INFO, SIOCOUTQ, SIOCINQ), then delivers what had
  // come in. kLost, with nothing changed, when the socket is not this stream's.
  NfsOutcome Resume(int fd, const OnReply& on_reply);
  // For a new connection in the place of a lost one: positions begin at 0 again, and the waiting
  // calls that `keep` says yes to stay, with xid, bytes and tag, to be sent again. The others are
  // forgotten. A death in the middle leaves a region that Open refuses: its calls are lost, and
  // whoever makes a new stream there must take their outcome for unknown.
  void Renew(const std::function<bool(const Unanswered&)>& keep);

  RpcStream(RpcStream&&) = default;
  RpcStream& operator=(RpcStream&&) = default;

  // Appends a call to the out ring and returns its xid. kBusy when ring or table are full at the
  // moment, kInvalid when the call can't be encoded or is larger than the ring.
  NfsResult<uint32_t> Submit(const Procedure& procedure, const Credentials& credentials,
                             const Arguments& arguments, uint64_t tag, TimePoint deadline);

  bool WantsWrite() const;
  // Sends what the socket takes. kLost when the connection is gone.
  NfsOutcome OnWritable(int fd);
  // Receives what is there and calls `on_reply` for each complete reply. kLost at the end of the
  // stream, kMalformed when the server sends what is no RPC reply. After an error the stream is
  // broken: FailAll, then a new connection and a new region.
  NfsOutcome OnReadable(int fd, const OnReply& on_reply);

  // Reports the calls whose deadline has passed. Their entries stay taken until the answer comes.
  void Expire(TimePoint now, const OnUnanswered& on_expired);
  // The earliest deadline of a waiting call, or kNoDeadline.
  TimePoint NextDeadline() const;
  // Reports all calls still waiting and frees the table.
  void FailAll(const OnUnanswered& on_failed);

  // Calls whose answer has not come, abandoned ones included.
  uint32_t outstanding() const { return outstanding_; }
  bool broken() const { return header_->broken != 0; }
  const StreamHeader& header() const { return *header_; }

 private:
  RpcStream(std::span<std::byte> region, const StreamSizes& sizes);

  CallEntry* EntryOf(uint32_t xid) { return &entries_[xid & (header_->sizes.calls - 1)]; }
  void Free(CallEntry* entry);
  void ReleaseOut();
  static bool IsWaiting(const CallEntry& entry);
  bool IsSent(const CallEntry& entry) const;
  tl::unexpected<NfsError> Break(Failure failure, std::string message);
  NfsOutcome Deliver(const OnReply& on_reply);
  NfsOutcome DeliverRecord(std::span<std::byte> record, const OnReply& on_reply);
  void CopyOut(uint64_t offset, std::span<const std::byte> bytes);
  void CopyIn(uint64_t offset, std::span<std::byte> bytes) const;
  void CopyBack(uint64_t offset, std::span<std::byte> bytes) const;  // from the out ring

  StreamHeader* header_;
  CallEntry* entries_;
  std::byte* out_;
  std::byte* in_;
  uint32_t outstanding_ = 0;
  // A record that wraps or comes in fragments, made contiguous; no state, it is rebuilt from the
  // ring.
  std::vector<std::byte> linear_;
};

}  // namespace gantry::nfs
