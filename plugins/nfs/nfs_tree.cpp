// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/nfs_tree.hpp"

#include <poll.h>

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "plugins/nfs/entry_attributes.hpp"
#include "plugins/nfs/nfs_storage.hpp"
#include "plugins/nfs/node_id.hpp"

namespace gantry::nfs {
namespace {

using plugin::AttributeChange;
using plugin::Done;
using plugin::Entry;
using plugin::EntryAttributes;
using plugin::ListPage;
using plugin::ListPosition;
using plugin::NodeId;
using plugin::ReadResult;
using plugin::StoreFault;
using plugin::WriteResult;
using plugin::WriteVerifier;
using std::chrono::milliseconds;

constexpr uint32_t kListBytes = kDirReplyBytesMax;
constexpr uint32_t kListNameBytes = kDirReplyBytesMax / 2;
constexpr size_t kCallsForOneConnection = 16;
constexpr int kJukeboxTriesMax = 300;  // Of one call.

template <class To, class From>
To SameBytes(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

// For `done` callbacks that want nothing of the reply.
template <class Reply>
void Plainly(Reply&&, const Done<void>& done) {
  done({});
}

}  // namespace

NfsTree::NfsTree(Server server, Credentials credentials, TreeOptions options)
    : server_(std::move(server)), credentials_(std::move(credentials)), options_(options) {
  connections_.resize(std::max<uint32_t>(options_.connections, 1));
  last_error_ = {Failure::kUnreachable, NfsStatus3::kOk, false, 0,
                 "server " + server_.host + " has not been asked"};
}

NfsTree::~NfsTree() = default;

// --- operations

// `make` makes the call, anew each time it is sent; it owns the names, which a call only views.
template <class Make, class Then, class T>
void NfsTree::Start(Make make, Then then, Done<T> done) {
  using Call = std::remove_cvref_t<std::invoke_result_t<const Make&>>;
  auto operation = std::make_unique<Operation>();
  operation->submit = [this, make = std::move(make)](RpcStream& stream,
                                                     uint64_t tag) -> NfsOutcome {
    const Call call = make();
    GANTRY_PLUGIN_TRY(Submit(stream, call, credentials_, tag, kNoDeadline));
    return {};
  };
  operation->answer = [then = std::move(then), done](const Reply& reply) -> NfsOutcome {
    auto result = DecodeReply<Call>(reply);
    if (!result) return tl::make_unexpected(std::move(result).error());
    then(std::move(*result), done);
    return {};
  };
  operation->fail = [done = std::move(done)](const plugin::StoreError& error) {
    done(tl::make_unexpected(error));
  };
  if (operations_.empty()) heard_ = Now();
  queue_.push_back(next_tag_);
  operations_.emplace(next_tag_++, std::move(operation));
}

void NfsTree::GetAttributes(const NodeId& id, Done<EntryAttributes> done) {
  Start([object = HandleOf(id)] { return GetAttr{object}; },
        [](AttributesReply&& reply, const Done<EntryAttributes>& then) {
          then(AttributesOf(reply.attributes));
        },
        std::move(done));
}

void NfsTree::Lookup(const NodeId& directory, std::string_view name, Done<Entry> done) {
  Start(
      [in = HandleOf(directory), name = std::string(name)] {
        return nfs::Lookup{in, name};
      },
      [this](LookupReply&& reply, const Done<Entry>& then) {
        const NodeId id = IdOf(reply.handle);
        if (reply.attributes) return then(Entry{id, AttributesOf(*reply.attributes)});
        GetAttributes(id, [id, then](plugin::StoreResult<EntryAttributes> is) {
          if (is) return then(Entry{id, *is});
          then(tl::make_unexpected(std::move(is).error()));
        });
      },
      std::move(done));
}

void NfsTree::List(const NodeId& directory, const ListPosition& from, Done<ListPage> done) {
  Start(
      [in = HandleOf(directory), from] {
        return ReadDirPlus{in, from.cookie, SameBytes<Verifier>(from.verifier), kListNameBytes,
                           kListBytes};
      },
      [](ListReply<DirEntryPlus>&& reply, const Done<ListPage>& then) {
        if (reply.entries.empty() && !reply.eof) {
          return then(plugin::FailStore(
              StoreFault::kUnavailable, plugin::code::kUnavailable,
              "the server ended a listing neither with an entry nor with its end"));
        }
        ListPage page;
        page.end = reply.eof;
        page.next.verifier = SameBytes<uint64_t>(reply.verifier);
        for (auto& entry : reply.entries) {
          page.next.cookie = entry.cookie;
          if (entry.name == "." || entry.name == "..") continue;
          std::optional<Entry> is;
          if (entry.handle && entry.attributes) {
            is = Entry{IdOf(*entry.handle), AttributesOf(*entry.attributes)};
          }
          page.entries.push_back({std::move(entry.name), std::move(is)});
        }
        then(std::move(page));
      },
      std::move(done));
}

void NfsTree::Remove(const NodeId& directory, std::string_view name, Done<void> done) {
  Start(
      [in = HandleOf(directory), name = std::string(name)] {
        return nfs::Remove{in, name};
      },
      Plainly<ChangeReply>, std::move(done));
}

void NfsTree::RemoveDirectory(const NodeId& directory, std::string_view name, Done<void> done) {
  Start(
      [in = HandleOf(directory), name = std::string(name)] {
        return RemoveDir{in, name};
      },
      Plainly<ChangeReply>, std::move(done));
}

void NfsTree::Read(const NodeId& file, uint64_t offset, uint32_t bytes, Done<ReadResult> done) {
  ReadRest(file, offset, bytes, {}, std::move(done));
}

// A server may send less than was asked for, also before the end.
void NfsTree::ReadRest(const NodeId& file, uint64_t offset, uint32_t bytes, std::string so_far,
                       Done<ReadResult> done) {
  const auto have = static_cast<uint32_t>(so_far.size());
  Start(
      [from = HandleOf(file), at = offset + have, rest = bytes - have] {
        return nfs::Read{from, at, rest};
      },
      [this, file, offset, bytes, so_far = std::make_shared<std::string>(std::move(so_far))](
          ReadReply&& reply, const Done<ReadResult>& then) {
        std::string data = std::move(*so_far);
        const size_t got = std::min<size_t>(reply.data.size(), bytes - data.size());
        data.append(reinterpret_cast<const char*>(reply.data.data()), got);
        if (data.size() < bytes && !reply.eof && got > 0) {
          return ReadRest(file, offset, bytes, std::move(data), then);
        }
        ReadResult result{std::move(data), reply.eof, std::nullopt};
        if (reply.attributes) result.attributes = AttributesOf(*reply.attributes);
        then(std::move(result));
      },
      std::move(done));
}

struct NfsTree::Writing {
  FileHandle file;
  uint64_t offset = 0;
  std::string data;
  bool durable = false;
  Done<WriteResult> done;
  size_t written = 0;
  WriteResult so_far{true, 0};
};

void NfsTree::Write(const NodeId& file, uint64_t offset, std::string data, bool durable,
                    Done<WriteResult> done) {
  auto writing = std::make_shared<Writing>();
  writing->file = HandleOf(file);
  writing->offset = offset;
  writing->data = std::move(data);
  writing->durable = durable;
  writing->done = std::move(done);
  WriteRest(std::move(writing));
}

// A server may take less than it is given.
void NfsTree::WriteRest(std::shared_ptr<Writing> writing) {
  Start(
      [writing] {
        const std::string_view rest = std::string_view(writing->data).substr(writing->written);
        return nfs::Write{writing->file, writing->offset + writing->written,
                          std::as_bytes(std::span(rest.data(), rest.size())),
                          writing->durable ? Stable::kFileSync : Stable::kUnstable};
      },
      [this, writing](WriteReply&& reply, const Done<WriteResult>& then) {
        const size_t rest = writing->data.size() - writing->written;
        if (reply.count == 0 || reply.count > rest) {
          return then(plugin::FailStore(StoreFault::kUnavailable, plugin::code::kUnavailable,
                                        "the server wrote " + std::to_string(reply.count) +
                                            " bytes of " + std::to_string(rest)));
        }
        if (reply.committed != Stable::kFileSync) {
          const auto verifier = SameBytes<uint64_t>(reply.verifier);
          if (!writing->so_far.durable && writing->so_far.verifier != verifier) {
            // It restarted between two parts of this: all of them again.
            writing->written = 0;
            writing->so_far = {true, 0};
            return WriteRest(writing);
          }
          writing->so_far = {false, verifier};
        }
        writing->written += reply.count;
        if (writing->written < writing->data.size()) return WriteRest(writing);
        then(writing->so_far);
      },
      writing->done);
}

void NfsTree::Commit(const NodeId& file, Done<WriteVerifier> done) {
  Start(
      [what = HandleOf(file)] {
        return nfs::Commit{what, 0, 0};
      },
      [](CommitReply&& reply, const Done<WriteVerifier>& then) {
        then(SameBytes<WriteVerifier>(reply.verifier));
      },
      std::move(done));
}

// What a CREATE or its like made; a server may leave out what it knows of it.
void NfsTree::Complete(const NodeId& directory, const std::string& name, const CreateReply& reply,
                       const Done<Entry>& done) {
  if (!reply.handle) return Lookup(directory, name, done);
  const NodeId id = IdOf(*reply.handle);
  if (reply.attributes) return done(Entry{id, AttributesOf(*reply.attributes)});
  GetAttributes(id, [id, done](plugin::StoreResult<EntryAttributes> is) {
    if (is) return done(Entry{id, *is});
    done(tl::make_unexpected(std::move(is).error()));
  });
}

void NfsTree::CreateFile(const NodeId& directory, std::string_view name, uint32_t mode,
                         Done<Entry> done) {
  const std::string owned(name);
  Start(
      [in = HandleOf(directory), owned, mode] {
        Create call;
        call.directory = in;
        call.name = owned;
        call.how = Create::How::kGuarded;
        call.attributes.mode = mode;
        return call;
      },
      [this, directory, owned](CreateReply&& reply, const Done<Entry>& then) {
        Complete(directory, owned, reply, then);
      },
      std::move(done));
}

void NfsTree::MakeDirectory(const NodeId& directory, std::string_view name, uint32_t mode,
                            Done<Entry> done) {
  const std::string owned(name);
  Start(
      [in = HandleOf(directory), owned, mode] {
        MakeDir call{in, owned, {}};
        call.attributes.mode = mode;
        return call;
      },
      [this, directory, owned](CreateReply&& reply, const Done<Entry>& then) {
        Complete(directory, owned, reply, then);
      },
      std::move(done));
}

void NfsTree::MakeSymlink(const NodeId& directory, std::string_view name, std::string_view target,
                          Done<Entry> done) {
  const std::string owned(name);
  Start(
      [in = HandleOf(directory), owned, target = std::string(target)] {
        return SymLink{in, owned, target, {}};
      },
      [this, directory, owned](CreateReply&& reply, const Done<Entry>& then) {
        Complete(directory, owned, reply, then);
      },
      std::move(done));
}

void NfsTree::ReadSymlink(const NodeId& link, Done<std::string> done) {
  Start([what = HandleOf(link)] { return ReadLink{what}; },
        [](ReadLinkReply&& reply, const Done<std::string>& then) { then(std::move(reply.target)); },
        std::move(done));
}

void NfsTree::MakeSpecial(const NodeId& directory, std::string_view name,
                          const EntryAttributes& like, Done<Entry> done) {
  const std::string owned(name);
  Start(
      [in = HandleOf(directory), owned, like] {
        MakeNode call{in, owned, TypeOf(like.kind), {}, like.device_major, like.device_minor};
        call.attributes.mode = like.mode;
        return call;
      },
      [this, directory, owned](CreateReply&& reply, const Done<Entry>& then) {
        Complete(directory, owned, reply, then);
      },
      std::move(done));
}

void NfsTree::Link(const NodeId& id, const NodeId& directory, std::string_view name,
                   Done<void> done) {
  Start(
      [what = HandleOf(id), in = HandleOf(directory), name = std::string(name)] {
        return nfs::Link{what, in, name};
      },
      Plainly<LinkReply>, std::move(done));
}

void NfsTree::Change(const NodeId& id, const AttributeChange& change, Done<EntryAttributes> done) {
  Start(
      [what = HandleOf(id), set = ToSetAttributes(change)] {
        return SetAttr{what, set, std::nullopt};
      },
      [this, id](ChangeReply&& reply, const Done<EntryAttributes>& then) {
        if (reply.wcc.after) return then(AttributesOf(*reply.wcc.after));
        GetAttributes(id, then);
      },
      std::move(done));
}

// --- connections

// The connections go too, unless nothing is outstanding on them.
void NfsTree::Abandon() {
  queue_.clear();
  later_.clear();
  if (operations_.empty()) return;
  for (auto& connection : connections_) connection = {};
  const auto dropped = std::exchange(operations_, {});
}

void NfsTree::Wait(TimePoint until) {
  const uint64_t before = answered_;
  do {
    QueueDue();
    if (!operations_.empty()) Connect();
    Flush();
    Poll(until);
    LoseSilent();
    if (!operations_.empty() && Now() - heard_ > options_.outage_max) FailAll();
  } while (answered_ == before && Now() < until);
}

void NfsTree::QueueDue() {
  while (!later_.empty() && later_.begin()->first <= Now()) {
    queue_.push_back(later_.begin()->second);
    later_.erase(later_.begin());
  }
}

// One at least; the others once there is enough to do for them.
void NfsTree::Connect() {
  if (reconnect_ && Now() < *reconnect_) return;
  reconnect_.reset();
  const TimePoint deadline = Now() + milliseconds(kTreeConnectMsMax);
  for (auto& connection : connections_) {
    if (connection.channel) continue;
    if (LeastBusy() != nullptr && operations_.size() < kCallsForOneConnection) return;
    const auto connected = [&]() -> NfsOutcome {
      GANTRY_PLUGIN_TRY_ASSIGN(const uint16_t port, FindNfsPort(server_, deadline));
      ConnectOptions options;
      options.reserved_port = server_.reserved_port;
      GANTRY_PLUGIN_TRY_ASSIGN(
          auto channel, Channel::Connect(server_.host, port, options, options_.sizes, deadline));
      connection.channel.emplace(std::move(channel));
      return {};
    }();
    if (connected) continue;
    last_error_ = connected.error();
    reconnect_ = Now() + reconnect_pause_;
    reconnect_pause_ = std::min(reconnect_pause_ * 2, milliseconds(kTreeReconnectMsMax));
    return;
  }
}

NfsTree::Connection* NfsTree::LeastBusy() {
  Connection* best = nullptr;
  for (auto& connection : connections_) {
    if (connection.channel && (best == nullptr || connection.channel->stream().outstanding() <
                                                      best->channel->stream().outstanding())) {
      best = &connection;
    }
  }
  return best;
}

void NfsTree::Flush() {
  while (!queue_.empty()) {
    Connection* connection = LeastBusy();
    if (connection == nullptr) return;
    const uint64_t tag = queue_.front();
    const auto found = operations_.find(tag);
    auto submitted = found->second->submit(connection->channel->stream(), tag);
    if (!submitted && submitted.error().failure == Failure::kBusy) break;
    queue_.pop_front();
    if (submitted) {
      found->second->sent = Now();
      connection->sent.push_back(tag);
      continue;
    }
    const auto operation = std::move(found->second);
    operations_.erase(found);
    ++answered_;
    operation->fail(ToStoreError(submitted.error()));
  }
  for (auto& connection : connections_) {
    if (!connection.channel || !connection.channel->stream().WantsWrite()) continue;
    if (auto sent = connection.channel->stream().OnWritable(connection.channel->fd()); !sent) {
      Lose(&connection, sent.error());
    }
  }
}

// Until something comes, or there is something else to do.
void NfsTree::Poll(TimePoint until) {
  if (!later_.empty()) until = std::min(until, later_.begin()->first);
  if (reconnect_ && !operations_.empty()) until = std::min(until, *reconnect_);
  std::vector<pollfd> polled;
  std::vector<Connection*> at;
  for (auto& connection : connections_) {
    if (!connection.channel) continue;
    const bool writes = connection.channel->stream().WantsWrite();
    polled.push_back(
        {connection.channel->fd(), static_cast<int16_t>(POLLIN | (writes ? POLLOUT : 0)), 0});
    at.push_back(&connection);
  }
  // A call that was just lost, or failed, waits for nothing.
  const bool busy = !queue_.empty() && LeastBusy() == nullptr && !reconnect_;
  const auto left = std::chrono::ceil<milliseconds>(until - Now());
  const int timeout = busy ? 0 : static_cast<int>(std::clamp<int64_t>(left.count(), 0, INT32_MAX));
  if (poll(polled.data(), polled.size(), timeout) <= 0) return;
  for (size_t i = 0; i < polled.size(); ++i) {
    Channel& channel = *at[i]->channel;
    NfsOutcome turned;
    if ((polled[i].revents & POLLOUT) != 0) turned = channel.stream().OnWritable(channel.fd());
    if (turned && (polled[i].revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
      malformed_ = false;
      turned =
          channel.stream().OnReadable(channel.fd(), [this](const Reply& reply) { OnReply(reply); });
      if (turned && malformed_) turned = tl::make_unexpected(last_error_);
    }
    if (!turned) Lose(at[i], turned.error());
  }
}

void NfsTree::OnReply(const Reply& reply) {
  const auto found = operations_.find(reply.tag);
  if (found == operations_.end()) return;
  auto operation = std::move(found->second);
  operations_.erase(found);
  const auto answered = operation->answer(reply);
  if (!answered && answered.error().failure == Failure::kMalformed) {
    malformed_ = true;
    last_error_ = answered.error();
    return Resend(std::move(operation), Now());
  }
  heard_ = Now();
  reconnect_pause_ = milliseconds(kTreeReconnectMsMin);
  if (!answered && answered.error().Is(NfsStatus3::kJukebox) &&
      ++operation->jukebox <= kJukeboxTriesMax) {
    const int pause_ms = std::min(kJukeboxPauseMsMin * operation->jukebox, kJukeboxPauseMsMax);
    return Resend(std::move(operation), Now() + milliseconds(pause_ms));
  }
  ++answered_;
  if (answered) return;
  operation->fail(
      ToStoreError(SaysNoNfs3(reply.head) ? NoNfs3(server_.host, reply.head) : answered.error()));
}

// Under a tag of its own, since the one before may still be answered.
void NfsTree::Resend(std::unique_ptr<Operation> operation, TimePoint when) {
  later_.emplace(when, next_tag_);
  operations_.emplace(next_tag_++, std::move(operation));
}

void NfsTree::Lose(Connection* connection, const NfsError& why) {
  last_error_ = why;
  const auto sent = std::exchange(connection->sent, {});
  connection->channel.reset();
  for (auto tag = sent.rbegin(); tag != sent.rend(); ++tag) {
    if (!operations_.contains(*tag)) continue;
    queue_.push_front(*tag);
    ++resent_;
  }
}

void NfsTree::LoseSilent() {
  for (auto& connection : connections_) {
    auto& sent = connection.sent;
    while (!sent.empty() && !operations_.contains(sent.front())) sent.pop_front();
    if (sent.empty() || Now() - operations_[sent.front()]->sent < options_.answer_max) continue;
    Lose(&connection, {Failure::kDeadline, NfsStatus3::kOk, true, 0,
                       "no answer within " + std::to_string(options_.answer_max.count()) + " ms"});
  }
}

void NfsTree::FailAll() {
  const plugin::StoreError error = ToStoreError(Wrap(last_error_, "server " + server_.host));
  auto failed = std::exchange(operations_, {});
  for (auto& connection : connections_) connection = {};
  Abandon();
  answered_ += failed.size();
  for (const auto& [tag, operation] : failed) operation->fail(error);
}

}  // namespace gantry::nfs
