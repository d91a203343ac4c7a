// SPDX-License-Identifier: Apache-2.0
// The life of an opened disk; its reads and writes are in io.cpp.
#include "plugins/iscsi/datapath/data_path.hpp"

#include <fcntl.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <gantry/gantry.hpp>
#include <utility>

#include "plugins/iscsi/datapath/turn.hpp"

namespace gantry::iscsi {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr gantry_str kStateName = {"iscsi-state", 11};

int64_t ToHostTime(scsi::TimePoint time) {
  if (time == scsi::TimePoint::max()) return INT64_MAX;
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
}

}  // namespace

struct IscsiDataPath::State {
  static constexpr uint64_t kMagic = 0x31544154'53495347;  // "GSISTAT1"
  std::atomic<uint64_t> magic;                             // 0: nothing below is valid.
  uint64_t fingerprint;
  std::atomic<uint64_t> key;  // The last that was or may have been registered; 0: none was.
};

IscsiDataPath::IscsiDataPath(const gantry_datapath_host& host, Log log,
                             std::function<int64_t()> seconds_now)
    : host_(host), log_(std::move(log)), seconds_now_(std::move(seconds_now)) {}

IscsiDataPath::~IscsiDataPath() {
  dying_ = true;
  Unwatch();
  link_.reset();
  if (attacher_watched_) host_.watch(host_.ctx, attacher_.fd(), 0, nullptr, nullptr);
  if (armed_ns_ != INT64_MAX) host_.timer(host_.ctx, INT64_MAX, nullptr, nullptr);
}

// --- events

void IscsiDataPath::OnTime() {
  const Turn turn(*this);
  armed_ns_ = INT64_MAX;
  send_soon_ = false;
  const auto now = steady_clock::now();
  ExpireOperations(now);
  CheckAlive(now);
  if (phase_ == Phase::kPausing && now >= retry_at_) BeginBringUp();
  if (phase_ == Phase::kClosing && now >= close_by_) FinishClose();
}

void IscsiDataPath::OnLinkEvents(uint32_t events) {
  const Turn turn(*this);
  if (!link_) return;
  link_->Service(static_cast<short>(((events & GANTRY_FS_READABLE) != 0 ? POLLIN : 0) |
                                    ((events & GANTRY_FS_WRITABLE) != 0 ? POLLOUT : 0)));
}

// The end of every turn: whatever was found out is acted upon here, with nothing of libiscsi or of
// an operation on the stack.
void IscsiDataPath::Settle() {
  for (;;) {
    if (link_ && link_->lost() && !doubt_) doubt_ = link_->why();
    if (doubt_ && phase_ == Phase::kServing) {
      DropLink();
      BringUpAnew();
    }
    if (phase_ == Phase::kClosing) ContinueClose();
    if (!send_soon_) Pump();
    if (link_ && link_->lost() && phase_ == Phase::kServing) continue;
    if (!doubt_ || phase_ != Phase::kServing) break;
  }
  doubt_.reset();
  WatchLink();
  ArmTimer();
}

void IscsiDataPath::UseLink(std::unique_ptr<scsi::Link> link) {
  link_ = std::move(link);
  watch_fd_.Reset(fcntl(link_->fd(), F_DUPFD_CLOEXEC, 0));
  if (!watch_fd_) Doubt("the session's socket can't be watched");
}

void IscsiDataPath::WatchLink() {
  if (!watch_fd_ || !link_) return;
  const uint32_t events =
      link_->lost() ? 0
                    : uint32_t{GANTRY_FS_READABLE} |
                          ((link_->events() & POLLOUT) != 0 ? uint32_t{GANTRY_FS_WRITABLE} : 0);
  if (events == 0) return Unwatch();
  if (events == watched_events_) return;
  watched_events_ = events;
  const int32_t watched = host_.watch(
      host_.ctx, watch_fd_.get(), events,
      [](void* self, uint32_t ready) { static_cast<IscsiDataPath*>(self)->OnLinkEvents(ready); },
      this);
  if (watched != 0) log_(GANTRY_LOG_ERROR, "the session's socket can't be watched");
}

void IscsiDataPath::Unwatch() {
  if (std::exchange(watched_events_, 0) != 0) {
    host_.watch(host_.ctx, watch_fd_.get(), 0, nullptr, nullptr);
  }
  watch_fd_.Reset();
}

IscsiDataPath::TimePoint IscsiDataPath::NextAt() const {
  // The loop serves its timers when it has handled what there was.
  if (send_soon_) return TimePoint{};
  TimePoint next = TimePoint::max();
  if (phase_ == Phase::kPausing) next = std::min(next, retry_at_);
  if (phase_ == Phase::kClosing) next = std::min(next, close_by_);
  if (!operations_.empty()) next = std::min(next, operations_.front().deadline);
  if (phase_ != Phase::kServing) return next;
  if (!queue_.empty() && busy_until_ != TimePoint{}) next = std::min(next, busy_until_);
  if (ping_by_ != TimePoint::max()) return std::min(next, ping_by_);
  const int quiet_ms = link_->outstanding() > 0 ? kSilentMsMax : kIdlePingMs;
  return std::min(next, heard_at_ + milliseconds(quiet_ms));
}

void IscsiDataPath::ArmTimer() {
  const int64_t at_ns = ToHostTime(NextAt());
  // A timer that is early costs less than setting it with every answer.
  if (at_ns == armed_ns_ || (armed_ns_ < at_ns && at_ns != INT64_MAX)) return;
  armed_ns_ = at_ns;
  host_.timer(
      host_.ctx, at_ns, [](void* self) { static_cast<IscsiDataPath*>(self)->OnTime(); }, this);
}

// --- open

void IscsiDataPath::Open(gantry_op op, const gantry_disk_open& request) {
  const Turn turn(*this);
  const auto refuse = [&](int error_number, std::string_view why) {
    log_(GANTRY_LOG_ERROR, "open: " + std::string(why));
    host_.done_error(host_.ctx, op, error_number);
  };
  if (phase_ != Phase::kClosed) return refuse(EBUSY, "it is open already");
  if (attacher_.busy()) return refuse(EAGAIN, "an earlier attempt has not ended");
  auto options = ParseOptions(request.parameters, gantry::View(request.volume_key));
  if (!options) return refuse(EINVAL, options.error().message);
  if (const auto secrets = AddSecrets(host_, &*options); !secrets) {
    return refuse(EKEYREJECTED, secrets.error().message);
  }
  identity_ = gantry::View(request.identity);
  if (identity_.empty()) return refuse(EINVAL, "identity: \"\", expected the name of the disk");
  options_ = *std::move(options);
  int32_t fresh = 0;
  state_ = static_cast<State*>(host_.region(host_.ctx, kStateName, sizeof(State), &fresh));
  if (state_ == nullptr) return refuse(ENOMEM, "no memory that outlives the process");
  if (state_->magic == State::kMagic && state_->fingerprint != options_.fingerprint) {
    return refuse(EINVAL, "the memory belongs to another disk");
  }
  state_->fingerprint = options_.fingerprint;
  state_->magic = State::kMagic;
  if (!attacher_.Start()) return refuse(EAGAIN, "no thread for logins");
  if (!attacher_watched_) {
    attacher_watched_ =
        host_.watch(
            host_.ctx, attacher_.fd(), GANTRY_FS_READABLE,
            [](void* self, uint32_t) { static_cast<IscsiDataPath*>(self)->OnBroughtUp(); },
            this) == 0;
    if (!attacher_watched_) return refuse(EIO, "the attempt's end can't be watched");
  }
  size_bytes_min_ = request.size_bytes;
  block_bytes_ = 0;
  readonly_ = request.readonly != 0;
  epoch_.reset();
  // A successor has to know who was before it; the first takes over from whoever is there.
  if (const auto last = ReservationKey::From(state_->key)) {
    if (last->epoch() == UINT32_MAX) return refuse(EIO, "no reservation key can follow the last");
    epoch_ = last->epoch() + 1;
  }
  last_portal_.reset();
  said_.clear();
  open_op_ = op;
  open_by_ = steady_clock::now() + milliseconds(kOpenMsMax);
  BeginBringUp();
}

void IscsiDataPath::BeginBringUp() {
  phase_ = Phase::kBringingUp;
  ++attempts_;
  BringUpRequest request;
  request.options = options_;
  // Behind the portal that served last: it is the one that was lost.
  if (last_portal_) {
    auto& portals = request.options.portals;
    const auto last = std::find_if(portals.begin(), portals.end(), [&](const scsi::Portal& portal) {
      return portal == *last_portal_;
    });
    if (last != portals.end()) std::rotate(portals.begin(), last + 1, portals.end());
  }
  request.identity = identity_;
  request.size_bytes_min = size_bytes_min_;
  request.block_bytes = block_bytes_;
  request.readonly = readonly_;
  request.claim = {epoch_, static_cast<uint32_t>(seconds_now_()), static_cast<uint16_t>(attempts_),
                   options_.owner};
  request.announce = [state = state_](const ReservationKey& key) { state->key = key.value(); };
  auto time_max = milliseconds(kAttemptMsMax);
  if (open_op_ != 0) {
    const auto left = std::chrono::duration_cast<milliseconds>(open_by_ - steady_clock::now());
    time_max = std::clamp(left, milliseconds(1), time_max);
  }
  request.time_max = time_max;
  attacher_.Begin(std::move(request));
}

void IscsiDataPath::OnBroughtUp() {
  const Turn turn(*this);
  auto result = attacher_.Take();
  if (!result) return;
  if (phase_ == Phase::kClosing) {
    if (!*result) return FinishClose();
    UseLink(std::move((*result)->link));
    return BeginLogout();
  }
  if (phase_ != Phase::kBringingUp) return;  // What came up is dropped.
  if (!*result) return BringUpFailed(result->error());
  Serve(**std::move(result));
}

void IscsiDataPath::Serve(BroughtUp up) {
  UseLink(std::move(up.link));
  disk_ = up.disk;
  if (up.key) epoch_ = up.key->epoch();
  size_bytes_min_ = std::max(size_bytes_min_, disk_.capacity.size_bytes());
  block_bytes_ = disk_.capacity.block_bytes;
  last_portal_.reset();
  for (const scsi::Portal& portal : options_.portals) {
    if (portal == link_->portal()) last_portal_ = portal;
  }
  served_at_ = heard_at_ = steady_clock::now();
  ping_by_ = TimePoint::max();
  busy_until_ = {};
  phase_ = Phase::kServing;
  log_(GANTRY_LOG_INFO,
       "target " + options_.login.target + " is served by portal " + link_->portal().ToString());
  said_.clear();
  if (open_op_ != 0) {
    zeroes_.assign(kZeroesBytes, std::byte{});
    DoneDisk(std::exchange(open_op_, 0));
  }
  for (auto at = operations_.begin(); at != operations_.end();) {
    const auto operation = at++;
    if (operation->kind != Kind::kRefresh) continue;
    if (operation->attempt_min > attempts_) {
      Doubt("asked to look at the disk again");
    } else {
      const gantry_op op = operation->op;
      by_op_.erase(op);
      operations_.erase(operation);
      DoneDisk(op);
    }
  }
}

void IscsiDataPath::DoneDisk(gantry_op op) {
  gantry_disk_facts facts{};
  facts.size_bytes = disk_.capacity.size_bytes();
  facts.block_bytes = disk_.capacity.block_bytes;
  if (CanUnmap()) {
    facts.discard_granularity_bytes =
        std::max<uint32_t>(1, disk_.limits.unmap_granularity_blocks) * facts.block_bytes;
  }
  host_.done_disk(host_.ctx, op, &facts);
}

void IscsiDataPath::BringUpFailed(const BringUpError& error) {
  const auto now = steady_clock::now();
  if (error.error.message != std::exchange(said_, error.error.message)) {
    log_(error.verdict == Verdict::kRetry ? GANTRY_LOG_WARNING : GANTRY_LOG_ERROR,
         "target " + options_.login.target + ": " + error.error.message);
  }
  // Before the first session there is somebody to be told; afterwards I/O waits.
  const bool away =
      error.verdict == Verdict::kRetry && (error.error.IsConnectionGone() || error.error.IsBusy());
  if (open_op_ != 0 && (!away || now + milliseconds(kRetryMs) >= open_by_)) {
    return FailOpen(error.error_number, error.error.message);
  }
  if (error.verdict == Verdict::kWrongDisk || error.verdict == Verdict::kFenced) {
    phase_ = Phase::kEnded;
    ended_errno_ = error.error_number;
    return EndAll(error.error_number);
  }
  phase_ = Phase::kPausing;
  retry_at_ = now + milliseconds(error.verdict == Verdict::kRefused ? kRefusedRetryMs : kRetryMs);
}

void IscsiDataPath::FailOpen(int error_number, std::string_view why) {
  phase_ = Phase::kClosed;
  log_(GANTRY_LOG_ERROR, "open: " + std::string(why));
  host_.done_error(host_.ctx, std::exchange(open_op_, 0), error_number);
}

// --- loss

// From here on nothing is sent over this session any more; see Settle.
void IscsiDataPath::Doubt(std::string_view why) {
  if (!doubt_) doubt_ = why;
}

void IscsiDataPath::DropLink() {
  if (!link_) return;
  log_(GANTRY_LOG_WARNING,
       "target " + options_.login.target + ": session over: " + doubt_.value_or("closed"));
  said_.clear();
  Unwatch();
  link_->Drop(doubt_.value_or("closed"));
  link_.reset();
  doubt_.reset();
}

// At once, but a session that did not last is no reason to hurry.
void IscsiDataPath::BringUpAnew() {
  const auto now = steady_clock::now();
  if (now - served_at_ >= milliseconds(kRetryMs)) return BeginBringUp();
  phase_ = Phase::kPausing;
  retry_at_ = now + milliseconds(kRetryMs);
}

void IscsiDataPath::EndAll(int error_number) {
  while (!operations_.empty()) End(operations_.begin(), error_number);
}

void IscsiDataPath::CheckAlive(TimePoint now) {
  if (phase_ != Phase::kServing || !link_) return;
  for (const Operation& operation : operations_) {
    if (operation.under_way > 0 && now - operation.moved_at > milliseconds(kCommandMsMax)) {
      return Doubt("a command was not answered in time, though the target answers");
    }
  }
  if (ping_by_ != TimePoint::max()) {
    if (now >= ping_by_) Doubt("the target does not answer");
    return;
  }
  const int quiet_ms = link_->outstanding() > 0 ? kSilentMsMax : kIdlePingMs;
  if (now - heard_at_ < milliseconds(quiet_ms)) return;
  ping_by_ = now + milliseconds(kPingMsMax);
  link_->Ping([this](const scsi::ScsiResult<scsi::Reply>& reply) {
    if (!reply || dying_) return;
    ping_by_ = TimePoint::max();
    heard_at_ = steady_clock::now();
  });
  link_->Service(POLLOUT);
}

// --- close

void IscsiDataPath::Close(gantry_op op) {
  const Turn turn(*this);
  if (phase_ == Phase::kClosed) return host_.done(host_.ctx, op);
  if (close_op_ != 0) return host_.done_error(host_.ctx, op, EALREADY);
  // There should be none; and none may keep a buffer that is the host's again.
  if (!operations_.empty()) DropLink();
  EndAll(EIO);
  close_op_ = op;
  close_by_ = steady_clock::now() + milliseconds(kCloseMsMax);
  const Phase before = std::exchange(phase_, Phase::kClosing);
  if (before == Phase::kBringingUp && attacher_.busy()) return attacher_.Cancel();
  if (!link_) return FinishClose();
  BeginLogout();
}

// First the reservation is given up, then the session.
void IscsiDataPath::BeginLogout() {
  const auto key = ReservationKey::From(state_->key);
  const auto ended = [this](const scsi::ScsiResult<scsi::Reply>&) { ++close_waits_; };
  close_waits_ = 0;
  if (options_.reserve && !readonly_ && key) {
    link_->Submit(options_.lun,
                  scsi::PersistentReserveOut(scsi::ReserveOut::kRegister,
                                             scsi::ReservationType::kNone, key->value(), 0),
                  ended);
  } else {
    ++close_waits_;
  }
  link_->Service(POLLOUT);
}

void IscsiDataPath::ContinueClose() {
  if (close_op_ == 0) return;
  if (!link_ || link_->lost() || close_waits_ == 2) return FinishClose();
  if (close_waits_ != 1 || link_->outstanding() > 0) return;
  link_->Logout([this](const scsi::ScsiResult<scsi::Reply>&) { ++close_waits_; });
  link_->Service(POLLOUT);
}

void IscsiDataPath::FinishClose() {
  if (close_op_ == 0) return;
  DropLink();
  phase_ = Phase::kClosed;
  // Whoever opens it next begins anew.
  if (state_ != nullptr) state_->key = 0;
  const gantry_op open_op = std::exchange(open_op_, 0);
  if (open_op != 0) host_.done_error(host_.ctx, open_op, ECANCELED);
  host_.done(host_.ctx, std::exchange(close_op_, 0));
}

}  // namespace gantry::iscsi
