// SPDX-License-Identifier: Apache-2.0
// For tests: a server that knows how a volume is opened, and answers the rest as it is told.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <vector>

#include "plugins/nfs/datapath/testing/fake_host.hpp"
#include "plugins/nfs/rpc/mount.hpp"
#include "plugins/nfs/rpc/nfs3.hpp"
#include "plugins/nfs/rpc/test_wire.hpp"

namespace gantry::nfs::test {

inline Bytes FattrOf(uint32_t type) {
  Bytes bytes = Xdr().Fattr().bytes;
  bytes[3] = std::byte(type);
  return bytes;
}
inline Bytes Status(uint32_t status) { return Xdr().U32(status).U32(0).U32(0).bytes; }

class ScriptedServer {
 public:
  // Returns the results after the RPC head, or nothing for no answer at all.
  using Script = std::function<std::optional<Bytes>(const FakeCall&)>;

  ScriptedServer() { Begin(0); }

  void On(uint32_t procedure, Script script) {
    const std::lock_guard lock(mutex_);
    scripts_[procedure] = std::move(script);
  }
  // The next call of this procedure, whatever it is, closes the connection instead.
  void HangUpOn(uint32_t procedure, int times = 1) {
    const std::lock_guard lock(mutex_);
    hang_ups_[procedure] = times;
  }
  // All calls of a procedure so far.
  std::vector<FakeCall> Seen(uint32_t procedure) {
    const std::lock_guard lock(mutex_);
    return seen_[procedure];
  }
  void SetTransferMax(uint32_t bytes) {
    const std::lock_guard lock(mutex_);
    transfer_max_ = bytes;
  }
  void Stop() { server_.reset(); }
  void Begin(uint16_t port) {
    server_ =
        std::make_unique<FakeServer>([this](const FakeCall& call) { return Answer(call); }, port);
    port_ = server_->port();
  }
  uint16_t port() const { return port_; }
  Volume::Parameters Parameters() const {
    return {{"server", "127.0.0.1"},
            {"share", "/export"},
            {"port", std::to_string(port_)},
            {"mountPort", std::to_string(port_)}};
  }

 private:
  std::optional<Bytes> Answer(const FakeCall& call) {
    Script script;
    {
      const std::lock_guard lock(mutex_);
      if (call.program == kMountProgram) {
        return ReplyTo(call.xid, Xdr().U32(0).Opaque("root").U32(1).U32(1).bytes);
      }
      seen_[call.procedure].push_back(call);
      if (hang_ups_[call.procedure] > 0) {
        --hang_ups_[call.procedure];
        return std::nullopt;
      }
      if (const auto found = scripts_.find(call.procedure); found != scripts_.end()) {
        script = found->second;
      }
    }
    if (script) {
      const auto results = script(call);
      return results ? ReplyTo(call.xid, *results) : Bytes{};
    }
    switch (call.procedure) {
      case GetAttr::kNumber:
        return ReplyTo(call.xid, Xdr().U32(0).Append(FattrOf(2)).bytes);
      case FsInfo::kNumber: {
        Xdr results;
        results.U32(0).U32(0);
        for (int i = 0; i < 7; ++i) results.U32(transfer_max_);
        return ReplyTo(call.xid, results.U64(1ull << 40).U64(1).U32(0).bytes);
      }
      case PathConf::kNumber:
        return ReplyTo(call.xid,
                       Xdr().U32(0).U32(0).U32(8).U32(255).U32(1).U32(1).U32(0).U32(1).bytes);
      case Lookup::kNumber:
        return ReplyTo(call.xid, Xdr().U32(0).Opaque("file").U32(1).Fattr().U32(0).bytes);
      default:
        return ReplyTo(call.xid, Status(10004));
    }
  }

  std::mutex mutex_;
  std::map<uint32_t, Script> scripts_;
  std::map<uint32_t, int> hang_ups_;
  std::map<uint32_t, std::vector<FakeCall>> seen_;
  std::atomic<uint32_t> transfer_max_{1 << 20};
  uint16_t port_ = 0;
  std::unique_ptr<FakeServer> server_;
};

}  // namespace gantry::nfs::test
