// SPDX-License-Identifier: Apache-2.0
// The one TCP connection of a volume, as its calls see it: it is up or it is not, and what was
// submitted is answered once, however often the connection had to be made again.
//
// After a loss the next connection comes from the same source port and sends the unanswered calls
// again under the same xids, so that the server's reply cache answers what it had executed. An
// answer may still fail to come (a server drops a repetition of what it is executing), so a
// connection whose repeated calls stay unanswered is given up as well. Where the port can't be had,
// another is taken in the end, and the user of this class says which calls may be repeated there.
//
// The stream, the port and what the volume was opened with lie in a region that outlives the
// process, and a copy of the socket is kept by the host: a successor goes on in the middle of a
// record (rpc_stream.hpp). Its predecessor's calls stay in the stream until they are answered.
#pragma once

#include <gantry/datapath.h>

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "plugins/nfs/datapath/socket.hpp"
#include "plugins/nfs/rpc/nfs3.hpp"
#include "plugins/nfs/rpc/rpc_stream.hpp"

namespace gantry::nfs {

// 64 calls, because Ganesha's reply cache holds so many for a connection (DRC_TCP_Hiwat).
inline constexpr StreamSizes kPathStreamSizes = {8 * 1024 * 1024, 4 * 1024 * 1024, 64};
inline constexpr int kConnectMsMax = 10'000;
inline constexpr int kReconnectMsMin = 100;
inline constexpr int kReconnectMsMax = 2'000;
// Then another port is taken: when somebody else has it, and when it is in TIME_WAIT, which ends.
inline constexpr int kPortTakenMsMax = 10'000;
inline constexpr int kPortTimeWaitMsMax = 70'000;
inline constexpr int kRepeatedCallMsMin = 5'000;  // For the answer to a call that was sent again.
inline constexpr int kRepeatedCallMsMax = 60'000;
// For answers on a kept connection of a network that this process is not in, as after the container of
// the one before has gone: where its packets go to is not known.
inline constexpr int kOtherNetworkMsMax = 2'000;
// From here on no new xids of this port: its calls are awaited, then another port is taken.
inline constexpr uint64_t kXidsRenewAt = kXidsPerPortMax - 1'000'000;

using Log = std::function<void(int32_t level, std::string_view text)>;

// What else has to survive. In the region, before the stream.
struct PathState {
  static constexpr uint64_t kMagic = 0x31485450'53464e47;  // "GNFSPTH1"

  std::atomic<uint64_t> magic;  // Written after the fields up to `name_bytes_max`; 0: they
                                // are not valid.
  uint64_t fingerprint;
  Address address;
  FileHandle root;
  uint32_t read_bytes_max;
  uint32_t write_bytes_max;
  uint32_t name_bytes_max;
  std::atomic<uint32_t> source_port;  // Of the last connection; 0: there was none.

  // Of writes that were answered but not stable: a successor must know that there were any.
  enum Unstable : uint32_t { kNone = 0, kSome = 1 };
  std::atomic<uint32_t> unstable;
};

class ConnectionUser {
 public:
  virtual ~ConnectionUser() = default;
  virtual void OnReply(const Reply& reply) = 0;
  // Whether an unanswered call shall go over a new connection; false: it is forgotten.
  virtual bool OnRepeat(const Unanswered& call, bool same_port) = 0;
  // A connection was made, another than the one before; nothing has gone over it yet.
  virtual void OnNewConnection() = 0;
  // Something happened in an event of the host's; nothing of the connection is on the stack.
  virtual void OnTurnEnd() = 0;
};

// One thread.
class Connection {
 public:
  Connection(const gantry_datapath_host& host, ConnectionUser& user, Log log);
  Connection(const Connection&) = delete;
  ~Connection();

  // Gets the memory, with the stream that a predecessor left in it. kBusy when the host can't give
  // it. Once or again.
  NfsOutcome Prepare();
  // After Prepare: there is no stream, because the memory is new or because a predecessor died while
  // it changed its connection for another. Whatever it had asked then is lost, which has to be
  // written down before a new stream hides it.
  bool HasStream() const { return stream_.has_value(); }
  NfsOutcome MakeStream();
  PathState& state() { return *state_; }

  // Goes on with the kept socket, or connects. `name` is for messages.
  void Start(const Address& address, bool reserved_port, std::string name);
  // Not from within a callback. Closes the socket and lets the host forget it. Calls unanswered
  // stay in the memory.
  void Stop();
  // After Stop: forgets them too, and all that was known of the server.
  void Forget();

  // For Submit (nfs3.hpp); nothing while there is no connection, or no more calls can be taken.
  RpcStream* Writable();
  // Sends what there is to send.
  void Flush();
  // Makes good a loss that was noticed. At the end of every turn.
  void Settle();

  bool started() const { return phase_ != Phase::kStopped; }
  bool up() const { return phase_ == Phase::kUp; }
  uint64_t unsent_bytes() const {
    return stream_ ? stream_->header().out_tail - stream_->header().out_sent : 0;
  }
  uint32_t outstanding() const { return stream_ ? stream_->outstanding() : 0; }
  TimePoint NextAt() const;
  void OnTime(TimePoint now);

 private:
  enum class Phase : uint8_t { kStopped, kWaiting, kConnecting, kUp };

  static void OnEvents(void* self, uint32_t events);
  void HandleEvents(uint32_t events);
  void Connect(TimePoint now);
  void RetryLater(TimePoint now, int error_number);
  void Established(TimePoint now);
  bool TakeKeptSocket();
  void Watch(uint32_t events);
  void DropSocket(bool reset);
  void LoseSocket();
  void Deliver(const Reply& reply);

  const gantry_datapath_host& host_;
  ConnectionUser& user_;
  const Log log_;
  std::span<std::byte> region_;
  PathState* state_ = nullptr;
  std::optional<RpcStream> stream_;

  Phase phase_ = Phase::kStopped;
  plugin::UniqueFd fd_;
  plugin::UniqueFd port_holder_;  // A lost connection's: nobody else gets its port meanwhile.
  Address address_;
  bool reserved_port_ = false;
  bool any_port_ = false;  // The next connection may come from another port.
  bool renumber_ = false;  // The port's xids are used up.
  bool foreign_ = false;   // The connection is of another network, and takes no new calls.
  bool past_ = false;      // Calls of a predecessor are awaited on its own connection.
  std::string name_;
  std::optional<std::string> loss_;  // Noticed, not yet dealt with.
  uint32_t watched_ = 0;
  TimePoint phase_ends_ = kNoDeadline;  // kWaiting: try again; kConnecting: give up.
  TimePoint lost_at_ = kNoDeadline;     // Since when there is no connection.
  int backoff_ms_ = 0;
  std::set<uint32_t> repeated_;  // xids sent again and not answered
  TimePoint repeated_until_ = kNoDeadline;
  int repeated_ms_ = kRepeatedCallMsMin;
};

}  // namespace gantry::nfs
