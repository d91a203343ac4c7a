// SPDX-License-Identifier: Apache-2.0
// A channel: messages with fds between two processes of one node, over a stream socket.
//
// Two threads each. The reader never waits for room to write: if it did, two peers that each write
// more than the socket holds would wait for each other for ever (measured: 233 KB are enough). Send
// never waits for the peer; what the socket does not take at once is queued by priority for the
// writer thread, and the queues are bounded.
// A sender that finds nothing queued writes its first frame itself, which spares a context switch a
// message. The right to write is a flag, not the mutex: nobody waits while another is in sendmsg.
// Rejected: one thread with epoll for all channels (a Receiver that is slow for one worker would
// delay the pings of all others).
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "host/base/clock.hpp"
#include "host/base/error.hpp"
#include "host/base/fd.hpp"
#include "host/wire/message.hpp"

namespace gantry::wire {

// Of each priority, headers included. The largest message must fit.
constexpr size_t kQueueBytesMax = 16 * 1024 * 1024;
constexpr size_t kQueueMessagesMax = 4096;
constexpr size_t kQueueFdsMax = 64;  // of all priorities
constexpr size_t kReceiveBytesMax = 128 * 1024;
// What one Send may write of others' messages before it leaves the rest to the writer thread.
constexpr size_t kSendFramesMax = 8;
static_assert(kQueueBytesMax > kMessageBytesMax + sizeof(FrameHeader));

// Called by the reader thread of a channel. Neither may block: the peer's pings wait behind it.
// Both may Send, and may call Close, which then does not wait; neither may destroy the channel.
class Receiver {
 public:
  virtual ~Receiver() = default;
  virtual void OnMessage(Message message) = 0;
  // Exactly once, after the last message, if the channel was started. UNAVAILABLE: the peer closed
  // it or is gone; CANCELLED: Close was called on this side; INTERNAL: the peer broke the protocol;
  // else an error of the socket.
  virtual void OnClosed(const base::Error& error) = 0;
};

struct ChannelOptions {
  size_t queue_bytes_max = kQueueBytesMax;
  size_t queue_messages_max = kQueueMessagesMax;
  // False where the peer is not trusted and has no fd to give: closing a foreign fd may block.
  // Enforced by the kernel since Linux 6.16 (SO_PASSRIGHTS), by the Decoder before.
  bool accept_fds = true;
};

struct ChannelStatistics {
  uint64_t messages_sent = 0;  // whole, taken by the kernel
  uint64_t frames_sent = 0;
  uint64_t bytes_sent = 0;
  uint64_t messages_received = 0;
  uint64_t bytes_received = 0;
  uint64_t messages_refused = 0;      // RESOURCE_EXHAUSTED
  uint64_t messages_queued_peak = 0;  // of all priorities
  uint64_t bytes_queued_peak = 0;
};

// Thread-safe, but for construction, Start and destruction.
class Channel {
 public:
  // Takes one end of MakeChannelPair. No thread runs yet; Send may be called already.
  static base::Result<std::unique_ptr<Channel>> Create(base::UniqueFd socket,
                                                       ChannelOptions options = {});
  // Once. The receiver is called from now on and must outlive the channel, or Close.
  base::Status Start(Receiver& receiver);
  // Closes. Not from a Receiver's functions.
  ~Channel();

  // Queues or sends; never blocks; takes the message, its fds and its secret also when it fails.
  // Of one priority messages arrive in the order of the Sends, and none overtakes an earlier one
  // of the same call (a cancel or finish then waits behind it). Success does not mean that the
  // peer got it.
  // INVALID_ARGUMENT: breaks a rule of its kind; RESOURCE_EXHAUSTED: the queue of its priority is
  // full; UNAVAILABLE: the channel is closed.
  base::Status Send(Message message);

  // Waits until the kernel has taken everything. DEADLINE_EXCEEDED, or UNAVAILABLE once closed.
  base::Status Flush(base::TimePoint deadline);

  // Drops what is queued, ends and joins both threads. Idempotent, from any thread. After it
  // returns the receiver is not called again, except where a Receiver's function is itself the
  // caller: then OnClosed is still to come, and a later Close or the destructor joins.
  void Close();

  ChannelStatistics Statistics() const;

 private:
  struct Item {
    Message message;
    Priority own;             // whose limits it counts against
    size_t body_sent = 0;     // payload bytes of whole chunks sent
    size_t frame_sent = 0;    // bytes of the present frame sent, header included
    FrameHeader header = {};  // of the present frame
  };
  enum class Pumped { kAll, kBlocked, kClosed };
  using Lock = std::unique_lock<std::mutex>;

  Channel(base::UniqueFd socket, ChannelOptions options);

  // The caller owns writing_. Releases the lock around every system call.
  Pumped Pump(Lock& lock, size_t frames_max);
  std::optional<size_t> NextQueue() const;
  ssize_t SendFrame(Item& item) const;
  // True when that completes a frame.
  bool AccountSent(Lock& lock, size_t queue, size_t bytes);
  size_t QueueFor(const Message& message) const;
  void StopWriting();
  void ClearQueues();
  void FailSending(base::Error error, bool is_final);

  void WriteLoop();
  void ReadLoop(Receiver& receiver);
  base::Error ReadUntilClosed(Receiver& receiver);
  void WaitForRoom() const;

  base::UniqueFd socket_;
  const ChannelOptions options_;

  mutable std::mutex mutex_;
  std::condition_variable to_write_;  // for the writer thread: handed_over_ or error_
  std::condition_variable idle_;      // for Flush and Close: writing_ ended or error_
  std::array<std::deque<Item>, kPriorityCount> queues_;
  std::array<size_t, kPriorityCount> bytes_queued_{};     // by Item::own
  std::array<size_t, kPriorityCount> messages_queued_{};  // by Item::own
  size_t fds_queued_ = 0;
  std::optional<size_t> mid_frame_;   // queue whose head is sent in part: it must go on
  bool writing_ = false;              // somebody may write: a sender or the writer thread
  bool handed_over_ = false;          // ... and it is the writer thread
  std::optional<base::Error> error_;  // set once: no more sends
  bool error_is_final_ = false;       // error_ says more than what the reader will see
  ChannelStatistics statistics_;

  std::atomic<bool> closing_{false};
  std::atomic<uint64_t> messages_received_{0};
  std::atomic<uint64_t> bytes_received_{0};
  std::atomic<std::thread::id> reader_id_;
  std::mutex join_mutex_;
  std::thread reader_;
  std::thread writer_;
};

}  // namespace gantry::wire
