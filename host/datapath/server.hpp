// SPDX-License-Identifier: Apache-2.0
// The FUSE server of one volume: reads requests into slots, asks the plugin, answers the kernel.
//
// Of FUSE only the kernel's own header is used. libfuse does not run the loop, because it reads
// requests into private memory, where they die with the process; here read() goes straight into the
// slot that a successor will find (slots.hpp).
//
// One thread, that of the EventLoop; the plugin's done functions come on it as well, from within an
// operation or later. Nothing here calls the plugin from within one of its done functions: what
// follows is done by Pump, which the owner of the loop calls once a turn.
#pragma once

#include <gantry/datapath.h>
#include <linux/fuse.h>

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "host/base/error.hpp"
#include "host/datapath/event_loop.hpp"
#include "host/datapath/identity.hpp"
#include "host/datapath/nodes.hpp"
#include "host/datapath/operation.hpp"
#include "host/datapath/policy.hpp"
#include "host/datapath/reply_arena.hpp"
#include "host/datapath/slots.hpp"
#include "host/wire/log_pipe.hpp"

namespace gantry::datapath {

constexpr int kReadsPerTurnMax = 32;  // so that the plugin's fds get their turn
// How long an interrupted request may still end by itself. Programs send themselves signals all the
// time (timers, SIGCHLD, Go's preemption), and EINTR from open or read breaks many of them; a
// killed one leaves so much later.
constexpr int64_t kInterruptGraceMs = 250;
constexpr size_t kServerTimer = 0;  // of the EventLoop

struct ServerStatistics {
  uint64_t requests = 0;
  uint64_t interrupts = 0;
  uint64_t replies_refused = 0;  // by the kernel: the caller was gone
  uint64_t misbehaviour = 0;     // of the plugin, or a count of the kernel's that cannot be
  uint64_t recovered = 0;        // requests that a predecessor had not answered
};

using Log = std::function<void(wire::LogLevel, std::string_view)>;

class Server {
 public:
  struct Parts {
    int fuse_fd;  // borrowed, non-blocking
    EventLoop& loop;
    SlotTable& slots;
    NodeTable& nodes;
    ReplyArena& arena;
    Identity identity;
    Policy policy;
    Log log;
  };

  explicit Server(Parts parts);
  Server(const Server&) = delete;

  // The plugin's table, as large as the plugin made it. Once, before anything else.
  void SetPlugin(const gantry_datapath* table, gantry_instance* instance);

  // Each calls `then` once, on a later turn or at once; one of the two at a time.
  void Open(const gantry_datapath_open& request, std::function<void(base::Status)> then);
  void Close(std::function<void(base::Status)> then);
  // After everything else and before Close: removes one of the files that were removed while they
  // were open and are still; false: there is none.
  bool RemoveHidden(std::function<void(base::Status)> then);
  // Takes no notice any more of an Open or Close under way.
  void AbandonInternal();

  // Takes over what a predecessor that died has left undone (server_recovery.cpp). Before Serve.
  void Recover();
  // Begins to read requests. The plugin is asked once OnOpened has said that the root is open; until
  // then they wait, and can be interrupted.
  base::Status Serve();
  void OnOpened();
  void StopReading();
  // What could not be done at once: requests that wait for a buffer, follow-ups, interrupts.
  void Pump();

  // The filesystem was unmounted, or its connection aborted.
  bool ended() const { return ended_; }
  uint32_t InFlight() const { return in_flight_; }
  const ServerStatistics& statistics() const { return statistics_; }

  // The plugin's ends of operations (datapath.h). A late, second or wrong one is counted.
  void Done(gantry_op id);
  void DoneError(gantry_op id, int32_t error_number);
  void DoneAttributes(gantry_op id, const gantry_fs_attributes* attributes);
  void DoneNode(gantry_op id, gantry_bytes node, const gantry_fs_attributes* attributes);
  void DoneTarget(gantry_op id, gantry_str target);
  void DoneData(gantry_op id, uint32_t length);
  void DoneWritten(gantry_op id, uint32_t length);
  void DoneStatfs(gantry_op id, const gantry_fs_statfs* statfs);
  // `node` empty: not told.
  int32_t Entry(gantry_op id, const gantry_fs_entry& entry, gantry_bytes node,
                const gantry_fs_attributes* attributes);
  // A done that no operation of the server's has.
  void DoneOfNoKind(gantry_op id);

 private:
  // Reading (server.cpp).
  void OnReadable();
  bool ReadOne();
  void Dispatch(const Slot& slot);
  Operation& Prepare(const Slot& slot);
  void Forget(const Slot& slot);
  void Interrupt(const Slot& slot);
  void AwaitInterrupt(Operation& operation);
  void LimitWait(const Operation& operation);
  void InterruptNow(Operation& operation);
  void ArmInterruptTimer();

  // A predecessor's requests (server_recovery.cpp).
  bool IsUnanswered(uint64_t unique);
  bool TakeReceived(const Slot& slot, const std::vector<Slot>& all);
  void UndoLookup(const Slot& slot);
  void Resume(const Slot& slot);

  // Asking the plugin (server_requests.cpp). Each returns 0, or the errno to answer at once.
  void Begin(Operation& operation);
  int Ask(Operation& operation);
  int AskName(Operation& operation);
  int AskNode(Operation& operation);
  int AskSetattr(Operation& operation);
  int AskMake(Operation& operation);
  int AskCreate(Operation& operation);
  int AskLink(Operation& operation);
  int AskRename(Operation& operation);
  bool HasBuffer(Operation& operation, uint32_t bytes);
  int AskRead(Operation& operation);
  int AskWrite(Operation& operation);
  int AskCommit(Operation& operation);
  int AskAllocate(Operation& operation);
  int AskReaddir(Operation& operation);
  int AskChangeXattr(Operation& operation);
  int AskXattr(Operation& operation);
  int AnswerOpen(Operation& operation);
  void AskTruncate(Operation& operation);
  gantry_fs_context Context(const Operation& operation) const;
  gantry_fs_context Context(const Operation& operation, Identity::Ids caller) const;
  int KeepNode(Operation& operation, size_t which, uint64_t node, gantry_bytes& handle);
  template <class Request>
  int Call(Operation& operation, void (*function)(gantry_instance*, gantry_op, const Request*),
           const Request* request, Ending ending);

  // Removing what is open (server_removal.cpp).
  static int TakeVictim(const Operation& operation, uint64_t& directory, gantry_str& name);
  int AskRemoval(Operation& operation);
  int AskChange(Operation& operation);
  int AskLook(Operation& operation);
  void Looked(Operation& operation, std::string_view handle,
              const gantry_fs_attributes& attributes);
  int AskHide(Operation& operation);
  void HasHidden(Operation& operation);
  void AfterHiding(Operation& operation);
  void GoOn(Operation& operation, uint32_t progress);
  bool GoesOnAfter(Operation& operation, int32_t error_number);
  int AnswerRelease(Operation& operation);
  int AskClean(Operation& operation, uint64_t node);
  bool WaitsForCleaning(const Operation& operation);
  bool HasOnlyToClean(const Operation& operation) const;
  void Cleaned(Operation& operation);
  uint64_t HidingNumber(const Operation& operation) const;

  // Answering (server_replies.cpp).
  Operation* Find(gantry_op id);
  Operation* FindEnding(gantry_op id, Ending ending);
  void Misbehaved(std::string_view what);
  static void MarkExecuting(const Operation& operation);
  void NoteWriter(const Operation& operation, uint64_t node);
  void DropAttributes(uint64_t node);
  void Answer(Operation& operation, int error_number, std::string_view body);
  void AnswerNode(Operation& operation, std::string_view handle,
                  const gantry_fs_attributes& attributes);
  void AnswerEntries(Operation& operation);
  void GoOnLater(Operation& operation);
  void Release(Operation& operation);
  int WriteReply(uint64_t unique, int32_t error, std::string_view body);
  void NoteForgotten(std::string_view handle);
  void NoteChange(const Operation& operation);
  void TellForgotten();
  void EndInternal(base::Status status);

  int fuse_fd_;
  EventLoop& loop_;
  SlotTable& slots_;
  NodeTable& nodes_;
  ReplyArena& arena_;
  const Identity identity_;
  const Policy policy_;
  const Log log_;
  gantry_datapath plugin_{};
  gantry_instance* instance_ = nullptr;

  std::array<Operation, kSlotsMax> operations_;  // by slot
  uint64_t sequence_ = 0;
  uint32_t in_flight_ = 0;
  uint32_t listings_ = 0;  // READDIRPLUS under way

  // Opens of files that are not closed yet; counted too high rather than too low.
  uint64_t open_files_ = 0;

  // open and close, which no slot stands for.
  gantry_op internal_ = 0;
  bool internal_is_open_ = false;
  RequestMemory internal_request_;
  HiddenName closing_name_{};
  std::function<void(base::Status)> internal_then_;

  struct Interrupted {
    gantry_op id;
    int64_t at_ns;
  };
  std::deque<gantry_op> held_;             // until the root is open
  std::deque<gantry_op> waiting_;          // for room in the arena
  std::deque<gantry_op> behind_cleaning_;  // until names of ours are removed
  std::deque<gantry_op> going_on_;         // to their next part
  std::deque<Interrupted> interrupted_;
  std::vector<std::string> forgotten_;  // handles that no node has, to be told to the plugin
  bool interrupts_due_ = false;
  bool opened_ = false;
  bool reading_ = false;  // wants to read
  bool watching_ = false;
  bool ended_ = false;
  ServerStatistics statistics_;
};

template <class Request>
int Server::Call(Operation& operation,
                 void (*function)(gantry_instance*, gantry_op, const Request*),
                 const Request* request, Ending ending) {
  if (function == nullptr) return EOPNOTSUPP;
  operation.ending = ending;
  operation.started = true;
  if (operation.saved) MarkExecuting(operation);
  // The operation may be over when this returns.
  function(instance_, operation.id, request);
  return 0;
}

}  // namespace gantry::datapath
