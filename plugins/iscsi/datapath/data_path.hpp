// SPDX-License-Identifier: Apache-2.0
// gantry.disk/1 over iSCSI: many commands at once over one session, on the host's event loop.
//
// A session is only ever used as it came up: identity and size looked at, fenced (bring_up.hpp).
// Whatever makes that doubtful (a lost connection, silence, a reset, a reservation conflict, a LUN
// that says it has changed, a request to look at the size again) has one answer: the connection is
// dropped, another one is brought up, and what was not answered is sent again. Waiting for a target
// has no backoff that grows: an attempt costs little, and I/O is to go on when the target does.
//
// What iSCSI leaves open: data that was written, acknowledged and not flushed lies in the target's
// cache, and is lost when the target loses its power, as with any disk. A LUN that is exchanged
// within a session by a target that says nothing about it is noticed at the next login only.
#pragma once

#include <gantry/disk.h>

#include <atomic>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string_view>
#include <unordered_map>

#include "plugins/iscsi/datapath/attacher.hpp"
#include "plugins/iscsi/datapath/operation.hpp"

namespace gantry::iscsi {

inline constexpr int kOpenMsMax = 15'000;
inline constexpr int kCloseMsMax = 2'000;
inline constexpr int kAttemptMsMax = 10'000;    // Of bringing a session up.
inline constexpr int kRetryMs = 250;            // Between two attempts.
inline constexpr int kRefusedRetryMs = 5'000;   // After a refusal, which others have to end.
inline constexpr int kSilentMsMax = 5'000;      // Without an answer that is owed: then a ping,
inline constexpr int kPingMsMax = 10'000;       // which is to be answered within so long.
inline constexpr int kIdlePingMs = 30'000;      // Where nothing is owed.
inline constexpr int kCommandMsMax = 120'000;   // Then a target that answers pings has lost it.
inline constexpr int kBusyMs = 50;              // Before a target that is busy is asked again.
inline constexpr size_t kCommandsMax = 128;     // Under way at once.
inline constexpr uint32_t kZeroPiecesMax = 4;   // Of one range, under way at once.
inline constexpr uint32_t kAttentionsMax = 64;  // Of one operation.
inline constexpr uint32_t kAbortsMax = 32;      // Likewise, of its commands; then it is an error.
inline constexpr uint64_t kWriteSameBytesMax = uint64_t{16} << 20;  // In one command.
inline constexpr uint64_t kZeroesBytes =
    256 * 1024;  // Written at once where there is no WRITE SAME.

using Log = std::function<void(int32_t level, std::string_view text)>;

// The instance behind the table; the methods are the table's functions. One thread, the loop's.
class IscsiDataPath {
 public:
  // `seconds_now` is the time since 1970, for the reservation's epoch.
  IscsiDataPath(const gantry_datapath_host& host, Log log, std::function<int64_t()> seconds_now);
  ~IscsiDataPath();

  void Open(gantry_op op, const gantry_disk_open& request);
  void Close(gantry_op op);
  void Interrupt(gantry_op op);
  void Read(gantry_op op, const gantry_disk_read& request);
  void Write(gantry_op op, const gantry_disk_write& request);
  void Flush(gantry_op op);
  void Zero(gantry_op op, const gantry_disk_range& request);
  void Refresh(gantry_op op);

 private:
  using TimePoint = scsi::TimePoint;
  using Operations = std::list<Operation>;
  enum class Phase : uint8_t {
    kClosed,
    kBringingUp,  // An attempt is under way.
    kPausing,     // Until the next attempt.
    kServing,
    kEnded,  // Another disk, or fenced: nothing is sent any more.
    kClosing
  };
  // In the region that outlives the process.
  struct State;
  // Around everything that enters; the outermost one does what is left to do.
  class Turn;

  // Life (data_path.cpp).
  void Settle();
  void OnTime();
  void OnBroughtUp();
  void OnLinkEvents(uint32_t events);
  void BeginBringUp();
  void BringUpFailed(const BringUpError& error);
  void Serve(BroughtUp up);
  void Doubt(std::string_view why);
  void BringUpAnew();
  void DropLink();
  void EndAll(int error_number);
  void FailOpen(int error_number, std::string_view why);
  void DoneDisk(gantry_op op);
  void BeginLogout();
  void ContinueClose();
  void FinishClose();
  void UseLink(std::unique_ptr<scsi::Link> link);
  void WatchLink();
  void Unwatch();
  void ArmTimer();
  void CheckAlive(TimePoint now);
  TimePoint NextAt() const;

  // I/O (io.cpp).
  Operation* Begin(gantry_op op, Kind kind, uint32_t flags, uint64_t offset, uint64_t length);
  void Enqueue(Operations::iterator operation);
  bool CanSend(const Operation& operation) const;
  void SendAgain(Operations::iterator operation, const Piece& piece, bool sync);
  void Pump();
  void SendNext(Operations::iterator operation);
  scsi::Command CommandFor(const Operation& operation, const Piece& piece) const;
  scsi::Command SyncCommand() const;
  uint64_t PieceBytesMax(const Operation& operation) const;
  void OnAnswer(Operations::iterator operation, const Piece& piece, bool sync,
                const scsi::ScsiResult<scsi::Reply>& reply);
  void OnRefusal(Operations::iterator operation, const Piece& piece, bool sync,
                 const scsi::ScsiError& error);
  void End(Operations::iterator operation, int error_number);
  void ExpireOperations(TimePoint now);
  bool CanUnmap() const;
  bool ZeroUnmaps(const Operation& operation) const;

  const gantry_datapath_host& host_;
  const Log log_;
  const std::function<int64_t()> seconds_now_;

  Phase phase_ = Phase::kClosed;
  DiskOptions options_;
  std::string identity_;
  uint64_t size_bytes_min_ = 0;
  bool readonly_ = false;
  State* state_ = nullptr;
  std::optional<uint32_t> epoch_;  // Of the reservation; nothing before the first.
  uint64_t attempts_ = 0;          // Of bringing up, begun so far.
  gantry_op open_op_ = 0;
  TimePoint open_by_ = TimePoint::max();
  gantry_op close_op_ = 0;
  TimePoint close_by_ = TimePoint::max();
  int close_waits_ = 0;
  int ended_errno_ = 0;  // With kEnded.
  TimePoint retry_at_ = TimePoint::max();
  std::string said_;  // The last reason why there is no session, so that it is logged once.

  Attacher attacher_;
  bool attacher_watched_ = false;
  std::unique_ptr<scsi::Link> link_;
  // The link's socket as the host watches it: a copy, because libiscsi closes its own when it likes,
  // and what is watched has to be unwatched before.
  plugin::UniqueFd watch_fd_;
  uint32_t watched_events_ = 0;  // 0: not watched.
  std::optional<std::string> doubt_;
  std::optional<scsi::Portal> last_portal_;
  TimePoint served_at_{};                 // Since when there is this session.
  TimePoint heard_at_{};                  // The last answer.
  TimePoint ping_by_ = TimePoint::max();  // A ping is to be answered; never: none is under way.
  TimePoint busy_until_{};

  Disk disk_;
  bool write_same_ = true;    // The target knows it.
  bool short_sync_ = false;   // Of SYNCHRONIZE CACHE it knows the short form only.
  uint32_t block_bytes_ = 0;  // Since the first session; another one is another disk.
  std::vector<std::byte> zeroes_;
  Operations operations_;  // The oldest first.
  std::unordered_map<gantry_op, Operations::iterator> by_op_;
  std::list<Operations::iterator> queue_;  // Operations with something to send.

  int64_t armed_ns_ = INT64_MAX;
  int depth_ = 0;
  // Requests come in a row, and their commands go in few segments when they are sent together.
  bool send_soon_ = false;
  bool dying_ = false;  // Nobody is told anything any more.
};

}  // namespace gantry::iscsi
