// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/rpc/client.hpp"

#include <algorithm>
#include <cstring>
#include <thread>

namespace gantry::nfs {
namespace {

using std::chrono::milliseconds;

// What a READ reply and a WRITE call carry besides the data.
constexpr uint32_t kRecordOverheadBytes = 2048;

TimePoint Now() { return std::chrono::steady_clock::now(); }

bool IsTransport(Failure failure) {
  return failure == Failure::kUnreachable || failure == Failure::kLost ||
         failure == Failure::kDeadline || failure == Failure::kMalformed;
}

}  // namespace

uint32_t SyncClient::PayloadBytesMax() const {
  return std::min(sizes_.in_bytes, sizes_.out_bytes) - kRecordOverheadBytes;
}

NfsOutcome SyncClient::Connect(TimePoint deadline) {
  if (channel_ && !channel_->IsStale()) return {};
  channel_.reset();
  GANTRY_PLUGIN_TRY_ASSIGN(const uint16_t port, FindNfsPort(server_, deadline));
  ConnectOptions options;
  options.reserved_port = server_.reserved_port;
  auto channel = Channel::Connect(server_.host, port, options, sizes_, deadline);
  if (!channel) return tl::make_unexpected(std::move(channel).error());
  channel_.emplace(std::move(*channel));
  return {};
}

NfsOutcome SyncClient::Exchange(const Spec& spec, TimePoint deadline,
                                const std::function<NfsOutcome(const Reply&)>& decode) {
  milliseconds pause(kJukeboxPauseMsMin);
  for (int resends = 0;;) {
    if (auto connected = Connect(deadline); !connected) {
      NfsError error = Wrap(std::move(connected).error(), spec.name);
      if (IsTransport(error.failure)) silence_ = error.message;
      return tl::make_unexpected(std::move(error));
    }
    NfsOutcome answer;
    ReplyHead head;
    auto called = channel_->Call(spec.procedure, spec.name, credentials_, spec.arguments, deadline,
                                 [&](const Reply& reply) {
                                   head = reply.head;
                                   answer = decode(reply);
                                 });
    if (!called) {
      NfsError error = Named(std::move(called).error());
      const bool sent = error.outcome_unknown;
      error.outcome_unknown = sent && !spec.idempotent;
      if (!IsTransport(error.failure)) return tl::make_unexpected(std::move(error));
      channel_.reset();
      if (error.failure == Failure::kLost && resends < kResendsMax && Now() < deadline &&
          !error.outcome_unknown) {
        ++resends;
        continue;
      }
      silence_ = error.message;
      return tl::make_unexpected(std::move(error));
    }
    silence_.reset();
    if (answer) return {};
    NfsError error = std::move(answer).error();
    if (error.Is(NfsStatus3::kJukebox) && Now() + pause < deadline) {
      std::this_thread::sleep_for(pause);
      pause = std::min(pause * 2, milliseconds(kJukeboxPauseMsMax));
      continue;
    }
    if (SaysNoNfs3(head)) return tl::make_unexpected(NoNfs3(server_.host, head));
    if (error.failure == Failure::kMalformed) {
      channel_.reset();
      error.outcome_unknown = !spec.idempotent;
    }
    return tl::make_unexpected(Named(std::move(error)));
  }
}

void SyncClient::Pipeline(size_t count, TimePoint deadline,
                          const std::function<NfsOutcome(size_t, RpcStream&)>& submit,
                          const std::function<NfsOutcome(size_t, const Reply&)>& decode,
                          const std::function<void(size_t, NfsError)>& fail) {
  if (auto connected = Connect(deadline); !connected) {
    if (IsTransport(connected.error().failure)) silence_ = connected.error().message;
    for (size_t i = 0; i < count; ++i) fail(i, connected.error());
    return;
  }
  RpcStream& stream = channel_->stream();
  size_t next = 0;
  NfsOutcome turned;
  bool malformed = false;
  const auto on_reply = [&](const Reply& reply) {
    if (auto answer = decode(reply.tag, reply); !answer) {
      malformed = malformed || answer.error().failure == Failure::kMalformed;
      NfsError error = SaysNoNfs3(reply.head) ? NoNfs3(server_.host, reply.head)
                                              : Named(std::move(answer).error());
      error.outcome_unknown = error.failure == Failure::kMalformed;
      fail(reply.tag, std::move(error));
    }
  };
  while (turned && (next < count || stream.outstanding() > 0)) {
    while (next < count) {
      auto submitted = submit(next, stream);
      if (!submitted && submitted.error().failure == Failure::kBusy) break;
      if (!submitted) fail(next, Named(std::move(submitted).error()));
      ++next;
    }
    if (next == count && stream.outstanding() == 0) break;
    if (Now() >= deadline) {
      turned = FailNfs(Failure::kDeadline, "no answer by the deadline");
    } else {
      turned = channel_->Turn(deadline, on_reply);
    }
  }
  if (turned) {
    silence_.reset();
    if (malformed) channel_.reset();
    return;
  }
  NfsError error = Named(std::move(turned).error());
  silence_ = error.message;
  stream.FailAll([&](const Unanswered& call) {
    NfsError one = error;
    one.outcome_unknown = call.sent;
    fail(call.tag, std::move(one));
  });
  for (; next < count; ++next) fail(next, error);
  channel_.reset();
}

NfsResult<SyncClient::ReadDone> SyncClient::ReadInto(const FileHandle& file, uint64_t offset,
                                                     std::span<std::byte> buffer,
                                                     TimePoint deadline) {
  if (buffer.size() > PayloadBytesMax()) {
    return FailNfs(Failure::kInvalid, "READ: " + std::to_string(buffer.size()) +
                                          " bytes, the limit is " +
                                          std::to_string(PayloadBytesMax()));
  }
  const Read call{file, offset, static_cast<uint32_t>(buffer.size())};
  GANTRY_PLUGIN_TRY(call.Check());
  ReadDone done;
  GANTRY_PLUGIN_TRY(Exchange(SpecOf(call), deadline, [&](const Reply& reply) -> NfsOutcome {
    auto result = DecodeReply<Read>(reply);
    if (!result) return tl::make_unexpected(std::move(result).error());
    if (result->data.size() > buffer.size()) {
      return FailNfs(Failure::kMalformed, "READ: the server sent more than was asked for");
    }
    if (!result->data.empty()) {
      std::memcpy(buffer.data(), result->data.data(), result->data.size());
    }
    done = {static_cast<uint32_t>(result->data.size()), result->eof, result->attributes};
    return {};
  }));
  return done;
}

NfsResult<FileHandle> SyncClient::MountRoot(TimePoint deadline) {
  auto root = nfs::MountRoot(server_, credentials_, deadline);
  if (root || !IsTransport(root.error().failure)) {
    silence_.reset();
  } else {
    silence_ = root.error().message;
  }
  return root;
}

}  // namespace gantry::nfs
