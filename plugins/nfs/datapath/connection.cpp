// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/datapath/connection.hpp"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <gantry/gantry.hpp>
#include <random>
#include <utility>

namespace gantry::nfs {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr size_t kStateBytes = 4096;
static_assert(sizeof(PathState) <= kStateBytes);
constexpr std::string_view kRegionName = "rpc";
constexpr std::string_view kSocketName = "nfs";

std::string ErrnoText(int error_number) {
  char text[128];
  return strerror_r(error_number, text, sizeof text);
}

bool IsPortTrouble(int error_number) {
  return error_number == EADDRINUSE || error_number == EADDRNOTAVAIL;
}

}  // namespace

Connection::Connection(const gantry_datapath_host& host, ConnectionUser& user, Log log)
    : host_(host), user_(user), log_(std::move(log)) {}

Connection::~Connection() {
  if (fd_ && watched_ != 0) host_.watch(host_.ctx, fd_.get(), 0, nullptr, nullptr);
}

NfsOutcome Connection::Prepare() {
  if (state_ == nullptr) {
    const size_t bytes = kStateBytes + RpcStream::RegionBytes(kPathStreamSizes);
    int32_t fresh = 0;
    void* memory = host_.region(host_.ctx, gantry::ToStr(kRegionName), bytes, &fresh);
    if (memory == nullptr) {
      return FailNfs(Failure::kBusy,
                     "the host gives no region of " + std::to_string(bytes) + " bytes");
    }
    region_ = {static_cast<std::byte*>(memory), bytes};
    // The memory is zeroed when it is new, which is a valid state.
    state_ = reinterpret_cast<PathState*>(region_.data());
  }
  if (stream_) return {};
  if (auto found = RpcStream::Open(region_.subspan(kStateBytes)))
    stream_.emplace(*std::move(found));
  return {};
}

NfsOutcome Connection::MakeStream() {
  GANTRY_PLUGIN_TRY_ASSIGN(
      RpcStream fresh,
      RpcStream::Create(region_.subspan(kStateBytes), kPathStreamSizes, std::random_device{}()));
  stream_.emplace(std::move(fresh));
  return {};
}

void Connection::Start(const Address& address, bool reserved_port, std::string name) {
  address_ = address;
  reserved_port_ = reserved_port;
  name_ = std::move(name);
  backoff_ms_ = 0;
  any_port_ = false;
  loss_.reset();
  const auto now = steady_clock::now();
  lost_at_ = now;
  if (!TakeKeptSocket()) Connect(now);
}

bool Connection::TakeKeptSocket() {
  plugin::UniqueFd fd(host_.take_fd(host_.ctx, gantry::ToStr(kSocketName)));
  if (!fd) return false;
  const auto resumed = stream_->Resume(fd.get(), [this](const Reply& reply) { Deliver(reply); });
  fd_ = std::move(fd);
  if (!resumed) {
    log_(GANTRY_LOG_WARNING,
         name_ + ": the connection kept from before is of no use: " + resumed.error().message);
    LoseSocket();
    return false;
  }
  phase_ = Phase::kUp;
  // Some of them may be repetitions that are never answered.
  past_ = stream_->outstanding() > 0;
  foreign_ = IsOfAnotherNetwork(fd_.get());
  const int answers_ms = foreign_ ? std::min(repeated_ms_, kOtherNetworkMsMax) : repeated_ms_;
  if (past_) repeated_until_ = steady_clock::now() + milliseconds(answers_ms);
  Flush();
  return true;
}

void Connection::Stop() {
  if (phase_ == Phase::kStopped) return;
  DropSocket(false);
  port_holder_.Reset();
  phase_ = Phase::kStopped;
  phase_ends_ = repeated_until_ = kNoDeadline;
  loss_.reset();
}

void Connection::Forget() {
  state_->magic = 0;
  state_->source_port = 0;
  state_->unstable = PathState::kNone;
  (void)MakeStream();  // In the sizes that were good before.
  repeated_.clear();
  renumber_ = past_ = false;
}

RpcStream* Connection::Writable() {
  if (phase_ != Phase::kUp || loss_ || renumber_ || foreign_) return nullptr;
  if (stream_->header().xids_used >= kXidsRenewAt) {
    renumber_ = true;
    return nullptr;
  }
  return &*stream_;
}

void Connection::Flush() {
  if (phase_ != Phase::kUp || loss_) return;
  if (stream_->WantsWrite()) {
    if (const auto sent = stream_->OnWritable(fd_.get()); !sent) {
      loss_ = sent.error().message;
      return;
    }
  }
  Watch(GANTRY_FS_READABLE | (stream_->WantsWrite() ? uint32_t{GANTRY_FS_WRITABLE} : 0));
}

void Connection::Settle() {
  const auto now = steady_clock::now();
  if (renumber_ && !loss_ && phase_ == Phase::kUp && stream_->outstanding() == 0) {
    loss_ = "the port's xids are used up";
    any_port_ = true;
  }
  if (foreign_ && !loss_ && stream_->outstanding() == 0) {
    loss_ = "it is of a network that was left";
  }
  if (past_ && stream_->outstanding() == 0) {
    past_ = false;
    repeated_until_ = kNoDeadline;
  }
  if (!loss_) return;
  past_ = false;
  log_(GANTRY_LOG_WARNING, name_ + ": the connection is given up: " + *loss_);
  loss_.reset();
  LoseSocket();
  lost_at_ = now;
  repeated_until_ = kNoDeadline;
  if (backoff_ms_ == 0) return Connect(now);
  // The last connection brought no answer.
  phase_ = Phase::kWaiting;
  phase_ends_ = now + milliseconds(backoff_ms_);
}

TimePoint Connection::NextAt() const {
  return phase_ == Phase::kUp ? repeated_until_ : phase_ends_;
}

void Connection::OnTime(TimePoint now) {
  if (now < NextAt()) return;
  switch (phase_) {
    case Phase::kWaiting:
      return Connect(now);
    case Phase::kConnecting:
      DropSocket(true);
      return RetryLater(now, ETIMEDOUT);
    case Phase::kUp:
      repeated_until_ = kNoDeadline;
      repeated_ms_ = std::min(2 * repeated_ms_, kRepeatedCallMsMax);
      loss_ = std::to_string(stream_->outstanding()) + " calls are not answered";
      return;
    case Phase::kStopped:
      return;
  }
}

void Connection::Connect(TimePoint now) {
  const auto last_port = static_cast<uint16_t>(state_->source_port);
  auto how = SourcePort::kGiven;
  if (last_port == 0 || any_port_) how = reserved_port_ ? SourcePort::kReserved : SourcePort::kAny;
  Connecting begun = BeginConnect(address_, how, last_port);
  if (!begun.fd) {
    if (how == SourcePort::kGiven && IsPortTrouble(begun.error_number)) {
      const int ms_max = begun.error_number == EADDRINUSE ? kPortTakenMsMax : kPortTimeWaitMsMax;
      any_port_ = stream_->outstanding() == 0 || now - lost_at_ > milliseconds(ms_max);
    }
    return RetryLater(now, begun.error_number);
  }
  fd_ = std::move(begun.fd);
  phase_ = Phase::kConnecting;
  phase_ends_ = now + milliseconds(kConnectMsMax);
  Watch(GANTRY_FS_WRITABLE);
}

void Connection::RetryLater(TimePoint now, int error_number) {
  if (backoff_ms_ <= kReconnectMsMin) {
    log_(GANTRY_LOG_WARNING,
         name_ + ": can't be connected to: " + ErrnoText(error_number) + "; trying on");
  }
  backoff_ms_ = std::clamp(2 * backoff_ms_, kReconnectMsMin, kReconnectMsMax);
  phase_ = Phase::kWaiting;
  phase_ends_ = now + milliseconds(backoff_ms_);
}

void Connection::Established(TimePoint now) {
  const uint16_t port = LocalPort(fd_.get());
  const auto last_port = static_cast<uint16_t>(state_->source_port);
  const bool same_port = port == last_port;
  repeated_.clear();
  user_.OnNewConnection();
  if (renumber_ && stream_->outstanding() == 0) {
    (void)MakeStream();
    renumber_ = false;
  } else {
    stream_->Renew([&](const Unanswered& call) {
      if (!user_.OnRepeat(call, same_port)) return false;
      if (call.sent) repeated_.insert(call.xid);
      return true;
    });
  }
  state_->source_port = port;
  port_holder_.Reset();
  any_port_ = false;
  phase_ = Phase::kUp;
  phase_ends_ = kNoDeadline;
  repeated_until_ = repeated_.empty() ? kNoDeadline : now + milliseconds(repeated_ms_);
  // Until an answer comes, the next loss waits before it connects.
  backoff_ms_ = std::clamp(2 * backoff_ms_, kReconnectMsMin, kReconnectMsMax);
  if (host_.keep_fd(host_.ctx, gantry::ToStr(kSocketName), fd_.get()) != 0) {
    log_(GANTRY_LOG_WARNING, name_ + ": the host does not keep the connection's socket");
  }
  Flush();
}

void Connection::Deliver(const Reply& reply) {
  backoff_ms_ = 0;
  if (repeated_.erase(reply.xid) != 0 && repeated_.empty()) {
    repeated_until_ = kNoDeadline;
    repeated_ms_ = kRepeatedCallMsMin;
  }
  user_.OnReply(reply);
}

void Connection::OnEvents(void* self, uint32_t events) {
  auto* connection = static_cast<Connection*>(self);
  connection->HandleEvents(events);
  connection->user_.OnTurnEnd();
}

void Connection::HandleEvents(uint32_t events) {
  if (phase_ == Phase::kConnecting) {
    const auto now = steady_clock::now();
    const int error_number = FinishConnect(fd_.get());
    if (error_number == 0) return Established(now);
    DropSocket(true);
    return RetryLater(now, error_number);
  }
  if (phase_ != Phase::kUp || loss_) return;
  if ((events & GANTRY_FS_READABLE) != 0) {
    const auto received =
        stream_->OnReadable(fd_.get(), [this](const Reply& reply) { Deliver(reply); });
    if (!received) loss_ = received.error().message;
  }
  Flush();
}

void Connection::Watch(uint32_t events) {
  if (events == watched_) return;
  if (host_.watch(host_.ctx, fd_.get(), events, &OnEvents, this) != 0) {
    loss_ = "the host can't watch its socket";
    return;
  }
  watched_ = events;
}

void Connection::DropSocket(bool reset) {
  if (!fd_) return;
  // From another address no port is the one that the server knows.
  if (std::exchange(foreign_, false)) state_->source_port = 0;
  if (watched_ != 0) host_.watch(host_.ctx, fd_.get(), 0, nullptr, nullptr);
  watched_ = 0;
  if (reset) Disconnect(fd_.get());
  host_.drop_fd(host_.ctx, gantry::ToStr(kSocketName));
  fd_.Reset();
}

// Gives up a connection that is to be made again from its port.
void Connection::LoseSocket() {
  if (fd_) port_holder_.Reset(fcntl(fd_.get(), F_DUPFD_CLOEXEC, 0));
  DropSocket(true);
}

}  // namespace gantry::nfs
