// SPDX-License-Identifier: Apache-2.0
// NFSv3 for a thread that waits: one connection, made when it is needed and made anew when it was
// lost. A call never outlives its deadline. A call that is not idempotent is sent again only when
// the server can't have seen it whole; otherwise the caller gets `outcome_unknown` and decides.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "plugins/nfs/rpc/channel.hpp"
#include "plugins/nfs/rpc/mount.hpp"
#include "plugins/nfs/rpc/nfs3.hpp"

namespace gantry::nfs {

inline constexpr int kResendsMax = 3;  // Of one call over new connections.
// NFS3ERR_JUKEBOX means "not now": asked again with a doubling pause until the deadline.
inline constexpr int kJukeboxPauseMsMin = 20;
inline constexpr int kJukeboxPauseMsMax = 1'000;

// One thread at a time.
class SyncClient {
 public:
  SyncClient(Server server, Credentials credentials, StreamSizes sizes = {})
      : server_(std::move(server)), credentials_(std::move(credentials)), sizes_(sizes) {}

  // Makes one call of nfs3.hpp. Errors begin with the server's name.
  template <class Call>
  NfsResult<typename Call::Reply> Do(const Call& call, TimePoint deadline) {
    static_assert(
        !requires { Call::kReplyBorrows; }, "its reply would dangle: use ReadInto");
    GANTRY_PLUGIN_TRY(call.Check());
    NfsResult<typename Call::Reply> result;
    GANTRY_PLUGIN_TRY(Exchange(SpecOf(call), deadline, [&](const Reply& reply) -> NfsOutcome {
      result = DecodeReply<Call>(reply);
      return Outcome(result);
    }));
    return result;
  }

  struct ReadDone {
    uint32_t count = 0;  // May be less than asked, also before the end.
    bool eof = false;
    std::optional<Attributes> attributes;
  };
  // READ into a buffer of at most PayloadBytesMax().
  NfsResult<ReadDone> ReadInto(const FileHandle& file, uint64_t offset, std::span<std::byte> buffer,
                               TimePoint deadline);

  // Makes all calls, many in flight at once, in no promised order of execution; one result each, in
  // the order of `calls`. Nothing is sent again after a lost connection.
  template <class Call>
  std::vector<NfsResult<typename Call::Reply>> DoAll(std::span<const Call> calls,
                                                     TimePoint deadline) {
    static_assert(
        !requires { Call::kReplyBorrows; }, "its reply would dangle: use ReadInto");
    std::vector<NfsResult<typename Call::Reply>> results(calls.size());
    Pipeline(
        calls.size(), deadline,
        [&](size_t i, RpcStream& stream) -> NfsOutcome {
          return Outcome(Submit(stream, calls[i], credentials_, i, deadline));
        },
        [&](size_t i, const Reply& reply) -> NfsOutcome {
          results[i] = DecodeReply<Call>(reply);
          return Outcome(results[i]);
        },
        [&](size_t i, NfsError error) {
          error.outcome_unknown = error.outcome_unknown && !Call::kIdempotent;
          error.message.insert(0, std::string(Call::kName) + ": ");
          results[i] = tl::make_unexpected(std::move(error));
        });
    for (size_t i = 0; i < calls.size(); ++i) {
      if (!results[i] && results[i].error().Is(NfsStatus3::kJukebox)) {
        results[i] = Do(calls[i], deadline);
      }
    }
    return results;
  }

  // MOUNTs the export, over a connection of its own.
  NfsResult<FileHandle> MountRoot(TimePoint deadline);

  // Bytes one WRITE can carry and one ReadInto can ask for; the server's own limits are in FSINFO.
  uint32_t PayloadBytesMax() const;

  const Server& server() const { return server_; }
  bool connected() const { return channel_.has_value(); }
  void Close() { channel_.reset(); }
  // Why the server could not be talked to in the last call; nothing when it answered, whatever it
  // answered.
  const std::optional<std::string>& silence() const { return silence_; }

 private:
  struct Spec {
    Procedure procedure;
    const char* name;
    bool idempotent;
    Arguments arguments;
  };
  template <class Call>
  static Spec SpecOf(const Call& call) {
    return {ProcedureOf<Call>(), Call::kName, Call::kIdempotent, ArgumentsOf(call)};
  }
  template <class T>
  static NfsOutcome Outcome(const NfsResult<T>& result) {
    if (result) return {};
    return tl::make_unexpected(result.error());
  }

  NfsOutcome Connect(TimePoint deadline);
  NfsOutcome Exchange(const Spec& spec, TimePoint deadline,
                      const std::function<NfsOutcome(const Reply&)>& decode);
  void Pipeline(size_t count, TimePoint deadline,
                const std::function<NfsOutcome(size_t, RpcStream&)>& submit,
                const std::function<NfsOutcome(size_t, const Reply&)>& decode,
                const std::function<void(size_t, NfsError)>& fail);
  NfsError Named(NfsError error) const { return Wrap(std::move(error), "server " + server_.host); }

  Server server_;
  Credentials credentials_;
  StreamSizes sizes_;
  std::optional<Channel> channel_;
  std::optional<std::string> silence_;
};

}  // namespace gantry::nfs
