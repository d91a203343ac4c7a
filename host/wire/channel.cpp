// SPDX-License-Identifier: Apache-2.0
#include "host/wire/channel.hpp"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "host/wire/decoder.hpp"

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83  // asm-generic/socket.h since Linux 6.16
#endif

namespace gantry::wire {
namespace {

const KindTraits& TraitsOf(const Message& message) {
  return *FindKind(static_cast<uint8_t>(message.kind));
}

std::string_view BodyOf(const Message& message) {
  return TraitsOf(message).secret ? message.secret.view() : std::string_view(message.payload);
}

size_t QueuedBytes(const Message& message) { return BodyOf(message).size() + sizeof(FrameHeader); }

base::Status CheckMessage(const Message& message) {
  const KindTraits* traits = FindKind(static_cast<uint8_t>(message.kind));
  const auto invalid = [&](std::string what) {
    return base::Fail(base::Code::kInvalidArgument,
                      "message of kind " + KindName(message.kind) + ": " + std::move(what));
  };
  if (traits == nullptr) return invalid("unknown kind");
  if (traits->secret ? !message.payload.empty() : !message.secret.empty())
    return invalid(traits->secret ? "its payload belongs into secret" : "it carries no secret");
  const size_t size = BodyOf(message).size();
  if (size > traits->bytes_max)
    return invalid(std::to_string(size) + " bytes, at most " + std::to_string(traits->bytes_max) +
                   " are allowed");
  if (!message.fds.empty() && !traits->fds) return invalid("it carries no fds");
  if (message.fds.size() > kMessageFdsMax)
    return invalid(std::to_string(message.fds.size()) + " fds, at most " +
                   std::to_string(kMessageFdsMax) + " are allowed");
  return {};
}

base::Error ClosedHere() { return {base::Code::kCancelled, "closed by this side"}; }

// Room for the fds of one message. A peer that sends more gets MSG_CTRUNC, which is fatal.
union ControlBuffer {
  cmsghdr align;
  char bytes[CMSG_SPACE(kMessageFdsMax * sizeof(int))];
};

std::vector<base::UniqueFd> TakeFds(msghdr& header) {
  std::vector<base::UniqueFd> fds;
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
      fds.emplace_back(fd);
    }
  }
  return fds;
}

}  // namespace

base::Result<std::unique_ptr<Channel>> Channel::Create(base::UniqueFd socket,
                                                       ChannelOptions options) {
  // For the reader, which waits in recvmsg; senders say MSG_DONTWAIT.
  const int flags = fcntl(socket.get(), F_GETFL);
  if (flags < 0 || fcntl(socket.get(), F_SETFL, flags & ~O_NONBLOCK) < 0)
    return base::FailErrno(errno, "make a channel's socket blocking");
  if (!options.accept_fds) {
    const int off = 0;
    // Kernels before 6.16 do not know the option; the Decoder refuses the fds there.
    (void)setsockopt(socket.get(), SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof(off));
  }
  return std::unique_ptr<Channel>(new Channel(std::move(socket), options));
}

Channel::Channel(base::UniqueFd socket, ChannelOptions options)
    : socket_(std::move(socket)), options_(options) {}

Channel::~Channel() { Close(); }

base::Status Channel::Start(Receiver& receiver) {
  try {
    writer_ = std::thread([this] { WriteLoop(); });
    reader_ = std::thread([this, &receiver] { ReadLoop(receiver); });
  } catch (const std::system_error& e) {
    Close();
    return base::Fail(base::Code::kResourceExhausted,
                      std::string("start a channel's threads: ") + e.what());
  }
  return {};
}

// ---- sending

base::Status Channel::Send(Message message) {
  GANTRY_TRY(CheckMessage(message));
  const Priority own = TraitsOf(message).priority;
  const auto own_index = static_cast<size_t>(own);
  const size_t bytes = QueuedBytes(message);

  Lock lock(mutex_);
  if (error_) return base::Fail(base::Code::kUnavailable, "channel closed: " + error_->message);
  if (messages_queued_[own_index] >= options_.queue_messages_max ||
      bytes_queued_[own_index] + bytes > options_.queue_bytes_max ||
      fds_queued_ + message.fds.size() > kQueueFdsMax) {
    ++statistics_.messages_refused;
    return base::Fail(base::Code::kResourceExhausted,
                      "channel queue is full: cannot add a " + KindName(message.kind) +
                          " message of " + std::to_string(bytes) + " bytes to " +
                          std::to_string(messages_queued_[own_index]) + " messages with " +
                          std::to_string(bytes_queued_[own_index]) + " bytes");
  }
  bytes_queued_[own_index] += bytes;
  ++messages_queued_[own_index];
  fds_queued_ += message.fds.size();
  uint64_t all_bytes = 0;
  uint64_t all_messages = 0;
  for (size_t i = 0; i < kPriorityCount; ++i) {
    all_bytes += bytes_queued_[i];
    all_messages += messages_queued_[i];
  }
  statistics_.bytes_queued_peak = std::max(statistics_.bytes_queued_peak, all_bytes);
  statistics_.messages_queued_peak = std::max(statistics_.messages_queued_peak, all_messages);
  queues_[QueueFor(message)].push_back(Item{std::move(message), own});

  if (writing_) return {};
  writing_ = true;
  if (Pump(lock, kSendFramesMax) == Pumped::kBlocked) {
    handed_over_ = true;
    to_write_.notify_one();
  } else {
    StopWriting();
  }
  return {};
}

// The queue of its priority, or the one where an earlier message of its call still waits. That
// wait is found by looking rather than by counting per call: it is needed only when the socket is
// full, and the queues are bounded.
size_t Channel::QueueFor(const Message& message) const {
  const auto own = static_cast<size_t>(TraitsOf(message).priority);
  if (!TraitsOf(message).of_call) return own;
  for (size_t queue = kPriorityCount - 1; queue > own; --queue) {
    const auto same_call = [&](const Item& item) {
      return item.message.call_id == message.call_id && TraitsOf(item.message).of_call;
    };
    if (std::any_of(queues_[queue].begin(), queues_[queue].end(), same_call)) return queue;
  }
  return own;
}

std::optional<size_t> Channel::NextQueue() const {
  if (mid_frame_) return mid_frame_;
  for (size_t i = 0; i < kPriorityCount; ++i)
    if (!queues_[i].empty()) return i;
  return std::nullopt;
}

Channel::Pumped Channel::Pump(Lock& lock, size_t frames_max) {
  size_t frames = 0;
  while (true) {
    if (error_) {
      ClearQueues();
      return Pumped::kClosed;
    }
    const std::optional<size_t> queue = NextQueue();
    if (!queue) return Pumped::kAll;
    if (frames >= frames_max) return Pumped::kBlocked;
    // Only the owner of writing_ removes items, and a deque's push_back moves none.
    Item& item = queues_[*queue].front();
    lock.unlock();
    const ssize_t n = SendFrame(item);
    const int send_errno = errno;
    lock.lock();
    if (n >= 0) {
      if (AccountSent(lock, *queue, static_cast<size_t>(n))) ++frames;
    } else if (send_errno == EAGAIN) {
      if (error_) continue;  // Close waits for whoever writes
      return Pumped::kBlocked;
    } else if (send_errno != EINTR) {
      // A peer that is gone has perhaps left messages, and the reader tells how it went.
      const bool gone = send_errno == EPIPE || send_errno == ECONNRESET;
      FailSending(base::FromErrno(send_errno, "send on the channel"), !gone);
    }
  }
}

ssize_t Channel::SendFrame(Item& item) const {
  const Message& message = item.message;
  const std::string_view rest = BodyOf(message).substr(item.body_sent);
  const std::string_view chunk = rest.substr(0, kFrameBytesMax);
  const bool first = item.body_sent == 0;
  item.header = FrameHeader{kFrameVersion,
                            static_cast<uint8_t>(message.kind),
                            chunk.size() < rest.size() ? kFlagMore : uint8_t{0},
                            first ? static_cast<uint8_t>(message.fds.size()) : uint8_t{0},
                            static_cast<uint32_t>(chunk.size()),
                            message.call_id};
  const size_t header_sent = std::min(item.frame_sent, sizeof(FrameHeader));
  const size_t chunk_sent = item.frame_sent - header_sent;
  iovec parts[2] = {
      {reinterpret_cast<char*>(&item.header) + header_sent, sizeof(FrameHeader) - header_sent},
      {const_cast<char*>(chunk.data()) + chunk_sent, chunk.size() - chunk_sent}};
  msghdr header{};
  header.msg_iov = parts;
  header.msg_iovlen = 2;
  ControlBuffer control{};
  // With the frame's first byte; once any byte is taken the fds are in the kernel's hands.
  if (first && item.frame_sent == 0 && !message.fds.empty()) {
    const size_t bytes = message.fds.size() * sizeof(int);
    header.msg_control = control.bytes;
    header.msg_controllen = CMSG_SPACE(bytes);
    cmsghdr* c = CMSG_FIRSTHDR(&header);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(bytes);
    for (size_t i = 0; i < message.fds.size(); ++i) {
      const int fd = message.fds[i].get();
      std::memcpy(CMSG_DATA(c) + i * sizeof(int), &fd, sizeof(int));
    }
  }
  return sendmsg(socket_.get(), &header, MSG_NOSIGNAL | MSG_DONTWAIT);
}

bool Channel::AccountSent(Lock& lock, size_t queue, size_t bytes) {
  Item& item = queues_[queue].front();
  statistics_.bytes_sent += bytes;
  item.frame_sent += bytes;
  mid_frame_ = queue;
  if (item.frame_sent < sizeof(FrameHeader) + item.header.length) return false;

  mid_frame_.reset();
  ++statistics_.frames_sent;
  item.body_sent += item.header.length;
  item.frame_sent = 0;
  if (item.body_sent < BodyOf(item.message).size()) return true;

  ++statistics_.messages_sent;
  bytes_queued_[static_cast<size_t>(item.own)] -= QueuedBytes(item.message);
  --messages_queued_[static_cast<size_t>(item.own)];
  fds_queued_ -= item.message.fds.size();
  std::optional<Item> done(std::move(item));
  queues_[queue].pop_front();
  // Closing fds and wiping secrets is not for others to wait for.
  lock.unlock();
  done.reset();
  lock.lock();
  return true;
}

void Channel::StopWriting() {
  writing_ = false;
  handed_over_ = false;
  idle_.notify_all();
}

void Channel::ClearQueues() {
  for (auto& queue : queues_) queue.clear();
  bytes_queued_ = {};
  messages_queued_ = {};
  fds_queued_ = 0;
  mid_frame_.reset();
}

// With mutex_ held. The reader still gets what has arrived, then sees the end of the stream.
void Channel::FailSending(base::Error error, bool is_final) {
  if (!error_) {
    error_ = std::move(error);
    error_is_final_ = is_final;
  }
  if (!writing_) ClearQueues();
  if (socket_) shutdown(socket_.get(), SHUT_RDWR);
  to_write_.notify_one();
  idle_.notify_all();
}

void Channel::WriteLoop() {
  pthread_setname_np(pthread_self(), "wire-write");
  Lock lock(mutex_);
  while (true) {
    to_write_.wait(lock, [this] { return error_ || handed_over_; });
    if (!handed_over_) return;
    while (Pump(lock, SIZE_MAX) == Pumped::kBlocked) {
      lock.unlock();
      WaitForRoom();
      lock.lock();
    }
    StopWriting();
  }
}

// Without a deadline, as the reader: a shutdown ends it.
void Channel::WaitForRoom() const {
  pollfd room{socket_.get(), POLLOUT, 0};
  while (poll(&room, 1, -1) < 0 && errno == EINTR) {
  }
}

base::Status Channel::Flush(base::TimePoint deadline) {
  Lock lock(mutex_);
  const bool done =
      idle_.wait_until(lock, deadline, [this] { return error_ || (!writing_ && !NextQueue()); });
  if (!done) return base::Fail(base::Code::kDeadlineExceeded, "flush the channel: peer is slow");
  if (error_) return base::Fail(base::Code::kUnavailable, "channel closed: " + error_->message);
  return {};
}

// ---- receiving

base::Error Channel::ReadUntilClosed(Receiver& receiver) {
  Decoder decoder(
      [&](Message message) {
        if (closing_) return;
        messages_received_.fetch_add(1, std::memory_order_relaxed);
        receiver.OnMessage(std::move(message));
      },
      options_.accept_fds);
  // Not initialised, so that the pages of an idle channel's buffer are never touched.
  const auto buffer = std::make_unique_for_overwrite<char[]>(kReceiveBytesMax);

  while (true) {
    const std::span<char> space = decoder.Space();
    iovec parts[2] = {{space.data(), space.size()}, {buffer.get(), kReceiveBytesMax}};
    ControlBuffer control;
    msghdr header{};
    header.msg_iov = parts;
    header.msg_iovlen = 2;
    header.msg_control = control.bytes;
    header.msg_controllen = sizeof(control.bytes);
    // Waits here and not in poll, which would be a second system call a message; Close ends it by
    // a shutdown. Without a deadline on purpose: an idle channel waits for as long as both sides
    // live, and whether the peer still answers is what pings are for.
    const ssize_t n = recvmsg(socket_.get(), &header, MSG_CMSG_CLOEXEC);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0 && closing_) return ClosedHere();
    if (n < 0 && errno != ECONNRESET) return base::FromErrno(errno, "receive from the channel");
    if (n <= 0) {
      std::string message =
          n == 0 ? "peer closed the channel" : "peer closed the channel with messages unread";
      if (const std::string where = decoder.Incomplete(); !where.empty()) message += " " + where;
      return base::Error{base::Code::kUnavailable, std::move(message)};
    }
    std::vector<base::UniqueFd> fds = TakeFds(header);
    if ((header.msg_flags & MSG_CTRUNC) != 0)
      return base::Error{base::Code::kInternal,
                         "channel protocol violation: fds were lost: more than " +
                             std::to_string(kMessageFdsMax) +
                             " came at once, or this process may open no more"};
    const auto received = static_cast<size_t>(n);
    const size_t direct = std::min(received, space.size());
    bytes_received_.fetch_add(received, std::memory_order_relaxed);
    const std::span<char> bytes(buffer.get(), received - direct);
    if (closing_) {
      base::Wipe(bytes);
      return ClosedHere();
    }
    if (auto status = decoder.Feed(std::move(fds), direct, bytes); !status) {
      base::Wipe(bytes);  // what follows the violation may be secret, and is not looked at
      return status.error();
    }
  }
}

void Channel::ReadLoop(Receiver& receiver) {
  pthread_setname_np(pthread_self(), "wire-read");
  reader_id_ = std::this_thread::get_id();
  base::Error error = ReadUntilClosed(receiver);
  {
    Lock lock(mutex_);
    if (error_is_final_) error = *error_;
    FailSending(error, false);
  }
  receiver.OnClosed(error);
  reader_id_ = std::thread::id();
}

void Channel::Close() {
  {
    Lock lock(mutex_);
    closing_ = true;
    // Before the shutdown, so that the reader, seeing that, sees whose it was.
    FailSending(ClosedHere(), false);
  }
  if (reader_id_.load() == std::this_thread::get_id()) return;
  std::lock_guard join(join_mutex_);
  if (reader_.joinable()) reader_.join();
  if (writer_.joinable()) writer_.join();
  Lock lock(mutex_);
  idle_.wait(lock, [this] { return !writing_ || handed_over_; });
  ClearQueues();
  socket_.Reset();
}

ChannelStatistics Channel::Statistics() const {
  Lock lock(mutex_);
  ChannelStatistics statistics = statistics_;
  statistics.messages_received = messages_received_.load(std::memory_order_relaxed);
  statistics.bytes_received = bytes_received_.load(std::memory_order_relaxed);
  return statistics;
}

}  // namespace gantry::wire
