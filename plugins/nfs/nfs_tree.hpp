// SPDX-License-Identifier: Apache-2.0
// The asynchronous storage on an NFS server: operations as values that live until they are answered,
// on connections of their own with many calls in flight. A connection that breaks, or on which a
// call stays unanswered for too long, is given up, and what it carried is sent again on another; the
// server is thought gone only when it has answered nothing for `outage_max`.
//
// Not the connections of the pool: their rings are of a record's size, and a copy keeps its own for
// minutes.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "plugins/common/async_storage.hpp"
#include "plugins/nfs/rpc/channel.hpp"
#include "plugins/nfs/rpc/mount.hpp"
#include "plugins/nfs/rpc/nfs3.hpp"

namespace gantry::nfs {

inline constexpr uint32_t kTreeChunkBytesMax = 256 * 1024;
inline constexpr uint32_t kTreeChunkBytesMin =
    4 * 1024;                                   // What a server says below is not believed.
inline constexpr int kTreeConnectMsMax = 500;   // Wait may take so long while the server is away,
inline constexpr int kTreeReconnectMsMin = 50;  // and pauses so long between two attempts,
inline constexpr int kTreeReconnectMsMax = 1'000;  // doubled up to this.

struct TreeOptions {
  uint32_t connections = 2;
  uint32_t chunk_bytes = kTreeChunkBytesMax;  // At most what the server takes (FSINFO).
  // Of one call; a COMMIT of a stretch that a slow disk has to take is the longest.
  std::chrono::milliseconds answer_max{30'000};
  std::chrono::milliseconds outage_max{60'000};
  StreamSizes sizes{4 * 1024 * 1024, 2 * 1024 * 1024, 256};
};

// One thread at a time.
class NfsTree final : public plugin::AsyncStorage {
 public:
  NfsTree(Server server, Credentials credentials, TreeOptions options = {});
  NfsTree(const NfsTree&) = delete;
  NfsTree& operator=(const NfsTree&) = delete;
  ~NfsTree() override;

  void GetAttributes(const plugin::NodeId& id, plugin::Done<plugin::EntryAttributes> done) override;
  void Lookup(const plugin::NodeId& directory, std::string_view name,
              plugin::Done<plugin::Entry> done) override;
  void List(const plugin::NodeId& directory, const plugin::ListPosition& from,
            plugin::Done<plugin::ListPage> done) override;
  void Remove(const plugin::NodeId& directory, std::string_view name,
              plugin::Done<void> done) override;
  void RemoveDirectory(const plugin::NodeId& directory, std::string_view name,
                       plugin::Done<void> done) override;
  void Wait(TimePoint until) override;
  TimePoint Now() const override { return std::chrono::steady_clock::now(); }
  size_t outstanding() const override { return operations_.size(); }
  void Abandon() override;

  uint32_t chunk_bytes() const override { return options_.chunk_bytes; }
  void Read(const plugin::NodeId& file, uint64_t offset, uint32_t bytes,
            plugin::Done<plugin::ReadResult> done) override;
  void Write(const plugin::NodeId& file, uint64_t offset, std::string data, bool durable,
             plugin::Done<plugin::WriteResult> done) override;
  void Commit(const plugin::NodeId& file, plugin::Done<plugin::WriteVerifier> done) override;
  void CreateFile(const plugin::NodeId& directory, std::string_view name, uint32_t mode,
                  plugin::Done<plugin::Entry> done) override;
  void MakeDirectory(const plugin::NodeId& directory, std::string_view name, uint32_t mode,
                     plugin::Done<plugin::Entry> done) override;
  void MakeSymlink(const plugin::NodeId& directory, std::string_view name, std::string_view target,
                   plugin::Done<plugin::Entry> done) override;
  void ReadSymlink(const plugin::NodeId& link, plugin::Done<std::string> done) override;
  void MakeSpecial(const plugin::NodeId& directory, std::string_view name,
                   const plugin::EntryAttributes& like, plugin::Done<plugin::Entry> done) override;
  void Link(const plugin::NodeId& id, const plugin::NodeId& directory, std::string_view name,
            plugin::Done<void> done) override;
  void Change(const plugin::NodeId& id, const plugin::AttributeChange& change,
              plugin::Done<plugin::EntryAttributes> done) override;

  uint64_t resent() const { return resent_; }  // Calls.

 private:
  struct Operation {
    std::function<NfsOutcome(RpcStream&, uint64_t tag)> submit;
    // Fails when the reply makes no sense, or asks for patience (JUKEBOX); then it is sent again.
    std::function<NfsOutcome(const Reply&)> answer;
    std::function<void(const plugin::StoreError&)> fail;
    TimePoint sent;
    int jukebox = 0;  // Times it was told to come again.
  };
  struct Connection {
    std::optional<Channel> channel;
    std::deque<uint64_t> sent;  // Tags in the order they were sent; some may be answered.
  };

  template <class Make, class Then, class T>
  void Start(Make make, Then then, plugin::Done<T> done);
  void Complete(const plugin::NodeId& directory, const std::string& name, const CreateReply& reply,
                const plugin::Done<plugin::Entry>& done);
  void ReadRest(const plugin::NodeId& file, uint64_t offset, uint32_t bytes, std::string so_far,
                plugin::Done<plugin::ReadResult> done);
  struct Writing;
  void WriteRest(std::shared_ptr<Writing> writing);

  void QueueDue();
  void Connect();
  void Flush();
  void Poll(TimePoint until);
  void OnReply(const Reply& reply);
  void Lose(Connection* connection, const NfsError& why);
  void LoseSilent();
  void FailAll();
  Connection* LeastBusy();
  void Resend(std::unique_ptr<Operation> operation, TimePoint when);

  const Server server_;
  const Credentials credentials_;
  const TreeOptions options_;
  std::unordered_map<uint64_t, std::unique_ptr<Operation>> operations_;
  std::deque<uint64_t> queue_;                // Not sent.
  std::multimap<TimePoint, uint64_t> later_;  // To be sent again then.
  std::vector<Connection> connections_;
  uint64_t next_tag_ = 1;
  uint64_t answered_ = 0;
  uint64_t resent_ = 0;
  TimePoint heard_;  // Or when there began to be something to wait for.
  std::optional<uint16_t> port_;
  std::optional<TimePoint> reconnect_;
  std::chrono::milliseconds reconnect_pause_{kTreeReconnectMsMin};
  NfsError last_error_;
  bool malformed_ = false;  // A reply of the connection at hand.
};

}  // namespace gantry::nfs
