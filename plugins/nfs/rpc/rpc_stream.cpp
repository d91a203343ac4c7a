// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/rpc/rpc_stream.hpp"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <nfsc/libnfs-zdr.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <memory>
#include <new>
#include <optional>

namespace gantry::nfs {
namespace {

constexpr size_t kPageBytes = 4096;
constexpr uint32_t kMarkerBytes = 4;
constexpr uint32_t kLastFragment = uint32_t{1} << 31;

size_t RoundToPage(size_t bytes) { return (bytes + kPageBytes - 1) & ~(kPageBytes - 1); }

bool AreValid(const StreamSizes& sizes) {
  const auto ring_ok = [](uint32_t bytes) {
    return std::has_single_bit(bytes) && bytes >= kRingBytesMin && bytes <= kRingBytesMax;
  };
  return ring_ok(sizes.out_bytes) && ring_ok(sizes.in_bytes) && std::has_single_bit(sizes.calls) &&
         sizes.calls <= kCallsInFlightMax;
}

std::string Describe(const StreamSizes& sizes) {
  return "out " + std::to_string(sizes.out_bytes) + " bytes, in " + std::to_string(sizes.in_bytes) +
         " bytes, calls " + std::to_string(sizes.calls) + "; expected powers of two, rings of " +
         std::to_string(kRingBytesMin) + " to " + std::to_string(kRingBytesMax) +
         " bytes, at most " + std::to_string(kCallsInFlightMax) + " calls";
}

int64_t ToNanoseconds(TimePoint time) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
}

// The ring's bytes [begin, end) as one or two pieces.
int Pieces(std::byte* ring, uint32_t ring_bytes, uint64_t begin, uint64_t end,
           std::array<iovec, 2>* pieces) {
  if (begin == end) return 0;
  const uint64_t at = begin & (ring_bytes - 1);
  const uint64_t bytes = end - begin;
  const uint64_t first = std::min<uint64_t>(bytes, ring_bytes - at);
  (*pieces)[0] = {ring + at, first};
  if (first == bytes) return 1;
  (*pieces)[1] = {ring, bytes - first};
  return 2;
}

constexpr int kPositionTriesMax = 100;

struct KernelPositions {
  uint64_t written;
  uint64_t received;
};

// The counters and the queues are read one after the other, so it is repeated until none moved.
std::optional<KernelPositions> AskKernel(int fd) {
  for (int i = 0; i < kPositionTriesMax; ++i) {
    tcp_info before = {}, after = {};
    socklen_t size = sizeof before;
    int unacknowledged = 0, unread = 0;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &before, &size) != 0 ||
        size < offsetof(tcp_info, tcpi_segs_out) || ioctl(fd, SIOCOUTQ, &unacknowledged) != 0 ||
        ioctl(fd, SIOCINQ, &unread) != 0) {
      return std::nullopt;
    }
    size = sizeof after;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &after, &size) != 0) return std::nullopt;
    if (before.tcpi_bytes_acked != after.tcpi_bytes_acked ||
        before.tcpi_bytes_received != after.tcpi_bytes_received) {
      continue;
    }
    // The SYN counts as a byte.
    return KernelPositions{after.tcpi_bytes_acked - 1 + static_cast<uint64_t>(unacknowledged),
                           after.tcpi_bytes_received - static_cast<uint64_t>(unread)};
  }
  return std::nullopt;
}

std::string ErrnoText(int error_number) {
  char text[128];
  return strerror_r(error_number, text, sizeof text);
}

}  // namespace

size_t RpcStream::RegionBytes(const StreamSizes& sizes) {
  return RoundToPage(sizeof(StreamHeader)) + RoundToPage(sizeof(CallEntry) * sizes.calls) +
         sizes.out_bytes + sizes.in_bytes;
}

RpcStream::RpcStream(std::span<std::byte> region, const StreamSizes& sizes)
    : header_(reinterpret_cast<StreamHeader*>(region.data())) {
  std::byte* at = region.data() + RoundToPage(sizeof(StreamHeader));
  entries_ = reinterpret_cast<CallEntry*>(at);
  out_ = at + RoundToPage(sizeof(CallEntry) * sizes.calls);
  in_ = out_ + sizes.out_bytes;
}

NfsResult<RpcStream> RpcStream::Create(std::span<std::byte> region, const StreamSizes& sizes,
                                       uint32_t first_xid) {
  if (!AreValid(sizes)) return FailNfs(Failure::kInvalid, "stream sizes: " + Describe(sizes));
  if (region.size() != RegionBytes(sizes)) {
    return FailNfs(Failure::kInvalid, "stream region: " + std::to_string(region.size()) +
                                          " bytes, expected " + std::to_string(RegionBytes(sizes)));
  }
  RpcStream stream(region, sizes);
  auto* header = new (stream.header_) StreamHeader{};
  header->version = StreamHeader::kVersion;
  header->first_xid = first_xid;
  header->sizes = sizes;
  for (uint32_t i = 0; i < sizes.calls; ++i) new (&stream.entries_[i]) CallEntry{};
  header->magic.store(StreamHeader::kMagic, std::memory_order_release);
  return stream;
}

NfsResult<RpcStream> RpcStream::Open(std::span<std::byte> region) {
  const auto refuse = [](const char* why) {
    return FailNfs(Failure::kInvalid, std::string("stream region: ") + why);
  };
  if (region.size() < sizeof(StreamHeader)) return refuse("too small");
  const auto* header = reinterpret_cast<const StreamHeader*>(region.data());
  if (header->magic != StreamHeader::kMagic) return refuse("wrong magic");
  if (header->version != StreamHeader::kVersion) return refuse("unknown version");
  if (!AreValid(header->sizes) || region.size() != RegionBytes(header->sizes)) {
    return refuse("sizes don't fit");
  }
  const uint64_t out_head = header->out_head, out_sent = header->out_sent;
  const uint64_t out_tail = header->out_tail;
  const uint64_t in_head = header->in_head, in_tail = header->in_tail;
  if (out_head > out_sent || out_sent > out_tail || out_tail - out_head > header->sizes.out_bytes ||
      in_head > in_tail || in_tail - in_head > header->sizes.in_bytes) {
    return refuse("positions don't fit");
  }
  RpcStream stream(region, header->sizes);
  for (uint32_t i = 0; i < header->sizes.calls; ++i) {
    CallEntry& entry = stream.entries_[i];
    if (entry.state == CallEntry::kFree) continue;
    if (entry.record_end > out_tail) {
      entry.state.store(CallEntry::kFree, std::memory_order_release);
    } else {
      ++stream.outstanding_;
    }
  }
  return stream;
}

tl::unexpected<NfsError> RpcStream::Break(Failure failure, std::string message) {
  header_->broken = 1;
  return FailNfs(failure, std::move(message));
}

void RpcStream::CopyOut(uint64_t offset, std::span<const std::byte> bytes) {
  std::array<iovec, 2> pieces;
  const int count = Pieces(out_, header_->sizes.out_bytes, offset, offset + bytes.size(), &pieces);
  for (int i = 0; i < count; ++i) {
    std::memcpy(pieces[i].iov_base, bytes.data(), pieces[i].iov_len);
    bytes = bytes.subspan(pieces[i].iov_len);
  }
}

void RpcStream::CopyIn(uint64_t offset, std::span<std::byte> bytes) const {
  std::array<iovec, 2> pieces;
  const int count = Pieces(in_, header_->sizes.in_bytes, offset, offset + bytes.size(), &pieces);
  for (int i = 0; i < count; ++i) {
    std::memcpy(bytes.data(), pieces[i].iov_base, pieces[i].iov_len);
    bytes = bytes.subspan(pieces[i].iov_len);
  }
}

void RpcStream::CopyBack(uint64_t offset, std::span<std::byte> bytes) const {
  std::array<iovec, 2> pieces;
  const int count = Pieces(out_, header_->sizes.out_bytes, offset, offset + bytes.size(), &pieces);
  for (int i = 0; i < count; ++i) {
    std::memcpy(bytes.data(), pieces[i].iov_base, pieces[i].iov_len);
    bytes = bytes.subspan(pieces[i].iov_len);
  }
}

NfsOutcome RpcStream::Resume(int fd, const OnReply& on_reply) {
  if (broken()) return FailNfs(Failure::kLost, "the connection is broken");
  const auto at = AskKernel(fd);
  if (!at) return FailNfs(Failure::kLost, "the kept socket's position can't be read");
  if (at->written < header_->out_sent || at->written > header_->out_tail ||
      at->received < header_->in_tail ||
      at->received - header_->in_head > header_->sizes.in_bytes) {
    return FailNfs(Failure::kLost, "the kept socket is at " + std::to_string(at->written) + "/" +
                                       std::to_string(at->received) +
                                       " bytes, which is not this stream's position");
  }
  header_->out_sent.store(at->written, std::memory_order_release);
  header_->in_tail.store(at->received, std::memory_order_release);
  return Deliver(on_reply);
}

void RpcStream::Renew(const std::function<bool(const Unanswered&)>& keep) {
  std::vector<CallEntry*> kept;
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < header_->sizes.calls; ++i) {
    CallEntry& entry = entries_[i];
    if (entry.state == CallEntry::kFree) continue;
    const bool sent = IsSent(entry);
    if (IsWaiting(entry) && keep({entry.xid, entry.procedure, entry.tag, sent})) {
      if (sent) entry.state.store(CallEntry::kWaitingAgain, std::memory_order_release);
      kept.push_back(&entry);
      bytes += entry.record_end - entry.record_begin;
    } else {
      Free(&entry);
    }
  }
  std::sort(kept.begin(), kept.end(), [](const CallEntry* a, const CallEntry* b) {
    return a->record_begin < b->record_begin;
  });
  std::vector<std::byte> records(bytes);
  std::span<std::byte> rest(records);
  for (const CallEntry* entry : kept) {
    const uint64_t length = entry->record_end - entry->record_begin;
    CopyBack(entry->record_begin, rest.first(length));
    rest = rest.subspan(length);
  }
  header_->magic.store(0, std::memory_order_release);
  uint64_t at = 0;
  for (CallEntry* entry : kept) {
    const uint64_t length = entry->record_end - entry->record_begin;
    entry->record_begin = at;
    entry->record_end = at += length;
  }
  CopyOut(0, records);
  header_->out_head = header_->out_sent = 0;
  header_->out_tail = bytes;
  header_->in_head = header_->in_tail = 0;
  header_->broken = 0;
  header_->magic.store(StreamHeader::kMagic, std::memory_order_release);
}

// Gives up the out ring's bytes before the oldest waiting call. Only needed when room is wanted, so
// the table is not scanned for every reply.
void RpcStream::ReleaseOut() {
  uint64_t keep = header_->out_sent;
  for (uint32_t i = 0; i < header_->sizes.calls; ++i) {
    if (IsWaiting(entries_[i])) keep = std::min(keep, entries_[i].record_begin);
  }
  header_->out_head.store(keep, std::memory_order_release);
}

NfsResult<uint32_t> RpcStream::Submit(const Procedure& procedure, const Credentials& credentials,
                                      const Arguments& arguments, uint64_t tag,
                                      TimePoint deadline) {
  if (broken()) return FailNfs(Failure::kLost, "the connection is broken");
  const uint32_t calls = header_->sizes.calls;
  if (outstanding_ == calls) {
    return FailNfs(Failure::kBusy, std::to_string(calls) + " calls are in flight, the limit");
  }
  uint64_t number = header_->xids_used;
  while (EntryOf(header_->first_xid + static_cast<uint32_t>(number))->state != CallEntry::kFree) {
    ++number;
  }
  if (number >= kXidsPerPortMax) {
    return FailNfs(Failure::kLost, "all xids of this port are used, a new connection is needed");
  }
  const uint32_t xid = header_->first_xid + static_cast<uint32_t>(number);

  alignas(8) std::byte head[kMarkerBytes + kCallHeadBytesMax];
  ZDR zdr;
  libnfs_zdrmem_create(&zdr, reinterpret_cast<char*>(head) + kMarkerBytes, kCallHeadBytesMax,
                       ZDR_ENCODE);
  const bool encoded =
      EncodeCallHead(&zdr, xid, procedure, credentials) && arguments.encode(arguments.object, &zdr);
  const uint32_t head_bytes = libnfs_zdr_getpos(&zdr);
  libnfs_zdr_destroy(&zdr);
  if (!encoded) return FailNfs(Failure::kInvalid, "the call's arguments can't be encoded");

  const uint64_t payload = arguments.payload.size();
  const uint64_t padding = (4 - payload % 4) % 4;
  const uint64_t record = head_bytes + payload + padding;
  if (record + kMarkerBytes > header_->sizes.out_bytes) {
    return FailNfs(Failure::kInvalid, "a call of " + std::to_string(record) +
                                          " bytes, the limit is " +
                                          std::to_string(header_->sizes.out_bytes - kMarkerBytes));
  }
  const uint64_t begin = header_->out_tail;
  const uint64_t end = begin + kMarkerBytes + record;
  if (end - header_->out_head > header_->sizes.out_bytes) {
    ReleaseOut();
    if (end - header_->out_head > header_->sizes.out_bytes) {
      return FailNfs(Failure::kBusy, "the out ring of " + std::to_string(header_->sizes.out_bytes) +
                                         " bytes is full of unanswered calls");
    }
  }

  const uint32_t marker = __builtin_bswap32(kLastFragment | static_cast<uint32_t>(record));
  std::memcpy(head, &marker, kMarkerBytes);
  CopyOut(begin, {head, kMarkerBytes + head_bytes});
  CopyOut(begin + kMarkerBytes + head_bytes, arguments.payload);
  constexpr std::byte kZeros[3] = {};
  CopyOut(end - padding, {kZeros, padding});

  header_->xids_used.store(number + 1, std::memory_order_release);
  CallEntry& entry = *EntryOf(xid);
  entry.xid = xid;
  entry.program = procedure.program;
  entry.procedure = procedure.number;
  entry.tag = tag;
  entry.deadline_ns = deadline == kNoDeadline ? INT64_MAX : ToNanoseconds(deadline);
  entry.record_begin = begin;
  entry.record_end = end;
  entry.state.store(CallEntry::kWaiting, std::memory_order_release);
  header_->out_tail.store(end, std::memory_order_release);
  ++outstanding_;
  return xid;
}

bool RpcStream::WantsWrite() const { return !broken() && header_->out_sent < header_->out_tail; }

NfsOutcome RpcStream::OnWritable(int fd) {
  if (broken()) return FailNfs(Failure::kLost, "the connection is broken");
  for (int turn = 0; turn < kTransfersPerTurnMax && WantsWrite(); ++turn) {
    std::array<iovec, 2> pieces;
    msghdr message = {};
    message.msg_iov = pieces.data();
    message.msg_iovlen = static_cast<size_t>(
        Pieces(out_, header_->sizes.out_bytes, header_->out_sent, header_->out_tail, &pieces));
    const ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) return {};
      return Break(Failure::kLost, "send: " + ErrnoText(errno));
    }
    header_->out_sent.store(header_->out_sent + static_cast<uint64_t>(sent),
                            std::memory_order_release);
  }
  return {};
}

NfsOutcome RpcStream::OnReadable(int fd, const OnReply& on_reply) {
  if (broken()) return FailNfs(Failure::kLost, "the connection is broken");
  for (int turn = 0; turn < kTransfersPerTurnMax; ++turn) {
    const uint64_t tail = header_->in_tail;
    const uint64_t room_end = header_->in_head + header_->sizes.in_bytes;
    std::array<iovec, 2> pieces;
    msghdr message = {};
    message.msg_iov = pieces.data();
    message.msg_iovlen =
        static_cast<size_t>(Pieces(in_, header_->sizes.in_bytes, tail, room_end, &pieces));
    const ssize_t received = recvmsg(fd, &message, MSG_DONTWAIT);
    if (received < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) return {};
      return Break(Failure::kLost, "receive: " + ErrnoText(errno));
    }
    if (received == 0) return Break(Failure::kLost, "the server closed the connection");
    header_->in_tail.store(tail + static_cast<uint64_t>(received), std::memory_order_release);
    GANTRY_PLUGIN_TRY(Deliver(on_reply));
    // A short read has emptied the socket; the end of the stream shows at the next poll.
    if (static_cast<uint64_t>(received) < room_end - tail) return {};
  }
  return {};
}

// Delivers every record that is complete (RFC 5531 section 11: fragments, each with a marker).
NfsOutcome RpcStream::Deliver(const OnReply& on_reply) {
  const uint32_t ring_bytes = header_->sizes.in_bytes;
  const uint64_t tail = header_->in_tail;
  for (;;) {
    const uint64_t begin = header_->in_head;
    const auto next_fragment = [&](uint64_t at, bool* last) {
      uint32_t marker;
      CopyIn(at, std::as_writable_bytes(std::span(&marker, 1)));
      marker = __builtin_bswap32(marker);
      *last = (marker & kLastFragment) != 0;
      return marker & ~kLastFragment;
    };
    uint64_t end = begin;
    uint64_t record_bytes = 0;
    bool complete = false;
    while (!complete && tail - end >= kMarkerBytes) {
      bool last = false;
      const uint32_t bytes = next_fragment(end, &last);
      if (end - begin + kMarkerBytes + bytes > ring_bytes) {
        return Break(Failure::kMalformed, "the server sent a record of more than " +
                                              std::to_string(ring_bytes) + " bytes, the limit");
      }
      if (tail - end - kMarkerBytes < bytes) break;
      end += kMarkerBytes + bytes;
      record_bytes += bytes;
      complete = last;
    }
    if (!complete) {
      if (tail - begin == ring_bytes) {
        return Break(Failure::kMalformed, "the server sent a record of more than " +
                                              std::to_string(ring_bytes) + " bytes, the limit");
      }
      return {};
    }

    const uint64_t at = (begin + kMarkerBytes) & (ring_bytes - 1);
    if (record_bytes == end - begin - kMarkerBytes && at + record_bytes <= ring_bytes) {
      GANTRY_PLUGIN_TRY(DeliverRecord({in_ + at, record_bytes}, on_reply));
    } else {
      linear_.resize(record_bytes);
      std::span<std::byte> rest(linear_);
      for (uint64_t from = begin; from < end;) {
        bool last = false;
        const uint32_t bytes = next_fragment(from, &last);
        CopyIn(from + kMarkerBytes, rest.first(bytes));
        rest = rest.subspan(bytes);
        from += kMarkerBytes + bytes;
      }
      GANTRY_PLUGIN_TRY(DeliverRecord(linear_, on_reply));
    }
    header_->in_head.store(end, std::memory_order_release);
  }
}

NfsOutcome RpcStream::DeliverRecord(std::span<std::byte> record, const OnReply& on_reply) {
  Reply reply;
  if (!DecodeReplyHead(record, &reply.head)) {
    return Break(Failure::kMalformed, "the server sent what is no RPC reply");
  }
  CallEntry* entry = EntryOf(reply.head.xid);
  if (entry->state == CallEntry::kFree || entry->xid != reply.head.xid ||
      entry->record_end > header_->out_sent) {
    header_->replies_dropped.fetch_add(1, std::memory_order_relaxed);
    return {};
  }
  if (entry->state == CallEntry::kAbandoned) {
    header_->replies_dropped.fetch_add(1, std::memory_order_relaxed);
    Free(entry);
    return {};
  }
  reply.xid = entry->xid;
  reply.procedure = entry->procedure;
  reply.tag = entry->tag;
  reply.repeated = entry->state == CallEntry::kWaitingAgain;
  if (reply.head.status == ReplyStatus::kSuccess) {
    reply.body = record.subspan(reply.head.body_offset);
  }
  on_reply(reply);
  Free(entry);
  return {};
}

void RpcStream::Free(CallEntry* entry) {
  entry->state.store(CallEntry::kFree, std::memory_order_release);
  --outstanding_;
}

bool RpcStream::IsWaiting(const CallEntry& entry) {
  return entry.state == CallEntry::kWaiting || entry.state == CallEntry::kWaitingAgain;
}

bool RpcStream::IsSent(const CallEntry& entry) const {
  return entry.state == CallEntry::kWaitingAgain || entry.record_end <= header_->out_sent;
}

void RpcStream::Expire(TimePoint now, const OnUnanswered& on_expired) {
  const int64_t now_ns = ToNanoseconds(now);
  for (uint32_t i = 0; i < header_->sizes.calls; ++i) {
    CallEntry& entry = entries_[i];
    if (!IsWaiting(entry) || entry.deadline_ns > now_ns) continue;
    on_expired({entry.xid, entry.procedure, entry.tag, IsSent(entry)});
    entry.state.store(CallEntry::kAbandoned, std::memory_order_release);
  }
}

TimePoint RpcStream::NextDeadline() const {
  int64_t next = INT64_MAX;
  for (uint32_t i = 0; i < header_->sizes.calls; ++i) {
    if (IsWaiting(entries_[i])) next = std::min(next, entries_[i].deadline_ns);
  }
  if (next == INT64_MAX) return kNoDeadline;
  return TimePoint(std::chrono::duration_cast<TimePoint::duration>(std::chrono::nanoseconds(next)));
}

void RpcStream::FailAll(const OnUnanswered& on_failed) {
  for (uint32_t i = 0; i < header_->sizes.calls; ++i) {
    CallEntry& entry = entries_[i];
    if (entry.state == CallEntry::kFree) continue;
    if (IsWaiting(entry)) {
      on_failed({entry.xid, entry.procedure, entry.tag, IsSent(entry)});
    }
    Free(&entry);
  }
}

}  // namespace gantry::nfs
