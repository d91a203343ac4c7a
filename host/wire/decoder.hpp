// SPDX-License-Identifier: Apache-2.0
// From bytes and fds to messages: a state machine without a socket or a thread, so that it can be
// fed anything, in pieces of any size, by tests and fuzzers.
//
// Fds and bytes. On a stream socket the kernel may glue frames without fds in front of the frame
// with fds into one recvmsg, but it never reads on past the skb that carried fds, and the fds come
// with that skb's first byte, which is the header's first (net/unix/af_unix.c,
// unix_stream_read_generic). So received fds wait in a queue; a frame takes as many as its header
// says, and none may be left once all bytes of that recvmsg are consumed.
//
// No byte is kept but of an incomplete header: payload goes straight to its message, so that a
// secret has exactly one other copy, in the receive buffer, which is wiped as it is consumed.
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "host/base/error.hpp"
#include "host/base/fd.hpp"
#include "host/wire/message.hpp"

namespace gantry::wire {

// A sender of ours has at most one incomplete message a priority; the rest is leeway for a peer
// that interleaves more.
constexpr size_t kReassemblyMessagesMax = 16;
constexpr size_t kReassemblyBytesMax = 32 * 1024 * 1024;

// Not thread-safe. Every error is final: the position in the stream is lost.
class Decoder {
 public:
  using Sink = std::function<void(Message)>;

  explicit Decoder(Sink sink, bool accept_fds = true)
      : sink_(std::move(sink)), accept_fds_(accept_fds) {}

  // Where the rest of the present chunk may be received directly; empty between chunks. Valid until
  // the next call.
  std::span<char> Space();

  // One recvmsg: its fds, `direct` bytes received into Space(), and the bytes after those. The part
  // of `bytes` that held secrets is wiped.
  base::Status Feed(std::vector<base::UniqueFd> fds, size_t direct, std::span<char> bytes);

  // For the error at end of stream: "" at a frame's boundary with nothing incomplete, else what is
  // missing, e.g. "in a CALL frame, 10 of 16 payload bytes received".
  std::string Incomplete() const;

 private:
  base::Status BeginFrame();
  base::Status EndFrame();
  std::span<char> Body();

  const Sink sink_;
  const bool accept_fds_;
  std::array<char, sizeof(FrameHeader)> header_bytes_{};
  size_t header_have_ = 0;
  FrameHeader header_;  // of the frame whose payload is being received
  bool in_payload_ = false;
  size_t body_have_ = 0;          // payload bytes of current_ that are filled
  Message current_;               // the message that the present frame belongs to
  std::vector<Message> partial_;  // messages with chunks to come
  size_t partial_bytes_ = 0;
  std::vector<base::UniqueFd> fds_;
};

}  // namespace gantry::wire
