// SPDX-License-Identifier: Apache-2.0
// One backend's releases over time: which one serves, and how another takes over. A swap is
//
//   stage      the plugin's file is copied to the store under its digest
//   preflight  a throw-away worker loads it, judges the configuration and is ended
//   spawn      a lane of its own: create, start, probe; no call goes there
//   canary     read-only calls, no worse answered than by the release that serves; by choice a share
//              of the volumes
//   cut-over   tasks end on the old lane and begin on the new; calls begin there by one pointer
//   drain      calls that began on the old lane end there; at a deadline they are cancelled, and at
//              another its worker is killed, and what is left is replayed on the new one
//   standby    the old worker stays warm: the new release has failed when its workers crash or its
//              answers are worse, and is then rolled back by itself
//   retire     the old worker ends
//   finalize   the plugin is told that it may write its newest formats
//
// Up to the cut-over it is the caller's thread that does this, afterwards one of the predecessor's
// own, so that the next swap may begin: it retires an older standby at once. Each step is journaled
// before it has an effect (journal.hpp); a failure before the cut-over leaves everything as it was.
// Rejected: keeping the swap's state in memory alone and starting over with the plugin directory's
// file, which would make a crash of gantryd undo, or do, what nobody asked for.
#pragma once

#include <atomic>
#include <deque>
#include <list>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "host/base/sync.hpp"
#include "host/core/config.hpp"
#include "host/core/fleet.hpp"
#include "host/supervise/runner.hpp"
#include "host/swap/journal.hpp"
#include "host/swap/router.hpp"

namespace gantry::swap {

// How long the steps take at most, or at least.
struct Pace {
  std::chrono::milliseconds standby{60'000};
  std::chrono::milliseconds drain{30'000};
  std::chrono::milliseconds recall{2'000};  // from the cancellation to the kill
  std::chrono::milliseconds tasks_end{5'000};
  std::chrono::milliseconds hand_over{2'000};  // of state, while calls wait
  std::chrono::milliseconds step{10'000};      // probe and canary calls
  supervise::RestartPace restart;
};

constexpr size_t kPredecessorsMax = 8;
constexpr size_t kDeathsShownMax = 16;
constexpr size_t kSwapStepsMax = 64;

// What a backend is made from. Must outlive its swapper.
struct SwapperParts {
  core::BackendConfig backend;
  std::string driver;  // whose it is; for people
  supervise::InstanceSpec instance;
  std::filesystem::path journal_directory;
  Pace pace;
  // Copies a plugin to the store: this file, or without one the plugin directory's of that name.
  std::function<base::Result<Release>(const std::string& plugin,
                                      const std::optional<std::filesystem::path>& file)>
      stage;
  // Whether the store still has it, undamaged.
  std::function<base::Status(const Release&)> verify;
  // Workers of a release; two slots never share a lease.
  std::function<supervise::Spawner(const Release&, uint32_t slot)> spawner;
};

using OnStep = std::function<void(const core::SwapStep&)>;

// Thread-safe.
class Swapper {
 public:
  explicit Swapper(SwapperParts parts);
  ~Swapper();  // stops

  // Decides what is to be served, from the plugin directory and the journal, and serves it. An
  // error of the plugin's create, such as a bad configuration, is returned as it is. Another reason
  // why no worker comes up is an error only if it must; else it is tried again and again.
  base::Status Start(bool must_start = true);
  // Ends all workers in order; calls after it are UNAVAILABLE.
  void Stop();

  core::Backend& backend() { return router_; }
  // What serves: the plugin, for data paths.
  Release serving() const;
  // As the configuration file has it now.
  core::BackendConfig config() const;

  // As core::Fleet says.
  base::Result<core::SwapStatus> Swap(const core::SwapRequest& request, const OnStep& on_step,
                                      core::Cancellation* cancellation);
  base::Result<core::SwapStatus> Rollback(const OnStep& on_step);
  base::Status Drain(std::chrono::milliseconds deadline);
  base::Status Resume();
  core::BackendStatus Status() const;
  // A swap to what the configuration file now says of plugin and `config:`.
  base::Result<core::SwapStatus> Reconfigure(const std::string& plugin,
                                             const std::string& config_json);

 private:
  enum class Order { kNone, kRetire, kRollback };
  struct Attempt {
    const core::SwapRequest& request;
    const OnStep& on_step;
    core::Cancellation* cancellation = nullptr;
  };
  // A lane that another one has taken over from, and the thread that sees it off.
  struct Predecessor {
    std::shared_ptr<Lane> lane;
    std::shared_ptr<Lane> successor;
    std::atomic<Order> order{Order::kNone};
    std::atomic<bool> is_over{false};
    bool is_started = true;  // false: left over from before gantryd was restarted
    base::Thread thread;
  };
  class Busy;

  base::Result<Release> Decide(std::optional<JournalEntry>& entry);
  base::Result<std::shared_ptr<Lane>> StartFirst(Release release);
  std::shared_ptr<Lane> KeepTrying(Release release);
  std::shared_ptr<Lane> MakeLane(Release release);
  void Discard(const std::shared_ptr<Lane>& lane);

  // The steps up to the cut-over, on the caller's thread.
  // has_begun: it is in the journal, whose business its failure is then.
  base::Result<core::SwapStatus> SwapNow(const Attempt& attempt, bool& has_begun);
  base::Result<Release> Stage(const core::SwapRequest& request, JournalEntry& entry);
  base::Status Preflight(Release& release);
  base::Status Canary(const Attempt& attempt, Lane& next);
  base::Status Compare(Lane& next, core::BackendCall call);
  base::Status ShiftBySteps(const Attempt& attempt, const std::shared_ptr<Lane>& next);
  base::Status CutOver(const Attempt& attempt, const std::shared_ptr<Lane>& next);
  base::Status CheckWanted(const Attempt& attempt) const;
  // Tasks and state go from one lane to the other, `commit` makes it durable, and calls begin there;
  // on an error all is as before.
  base::Status TakeOver(const std::shared_ptr<Lane>& from, const std::shared_ptr<Lane>& to,
                        std::shared_ptr<Lane> fallback,
                        const std::function<base::Status()>& commit);
  base::Status HandOverState(Lane& from, Lane& to);

  // The steps after it, on the predecessor's thread.
  void Follow(Predecessor& predecessor);
  void SeeOff(Predecessor& predecessor, bool is_last);
  void ForceOut(Lane& lane);
  bool RollBack(Predecessor& predecessor, const std::string& why);
  void Finalize(Lane& lane);
  void AddPredecessor(std::shared_ptr<Lane> lane, std::shared_ptr<Lane> successor, bool is_started);
  void Sweep();  // joins those that are over

  // Journals a step of the swap, and says it.
  base::Status Note(const std::string& step, const std::string& detail,
                    const OnStep* on_step = nullptr);
  void NoteDeath(supervise::Worker& worker);

  SwapperParts parts_;
  Router router_;
  const Journal journal_;
  std::atomic<uint64_t> last_generation_{0};
  std::atomic<bool> stopping_{false};
  core::CancelFlag stop_;

  mutable base::Mutex mutex_;
  base::Condition changed_;
  bool busy_ = false;  // somebody changes which lane serves (busy.hpp)
  bool is_operators_ = false;
  bool drained_ = false;
  bool stopped_ = true;
  std::shared_ptr<Lane> active_;
  std::shared_ptr<Lane> next_;
  std::list<std::shared_ptr<Predecessor>> predecessors_;  // the oldest first
  std::set<uint32_t> slots_;
  JournalEntry journaled_;
  std::deque<core::DeathStatus> deaths_;
  uint64_t deaths_total_ = 0;
  std::map<std::string, uint64_t> deaths_by_signal_;
};

}  // namespace gantry::swap
