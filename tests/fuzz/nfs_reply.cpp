// SPDX-License-Identifier: Apache-2.0
// What an NFS server answers: the head of an RPC reply, the results of every call, the root that
// MOUNT gives. What is accepted keeps the limits of RFC 1813 and of xdr_shape.hpp.
//
// Input: the call's number (22: MOUNT's MNT, 23: a reply with its head), then the bytes.
#include <algorithm>
#include <vector>

#include "plugins/nfs/rpc/mount.hpp"
#include "plugins/nfs/rpc/nfs3.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace {

using namespace gantry;  // NOLINT(google-build-using-namespace)
using Body = std::span<std::byte>;

void Expect(const nfs::FileHandle& handle) {
  GANTRY_FUZZ_EXPECT(handle.size >= 1 && handle.size <= nfs::kHandleBytesMax, "a handle's size");
}
void Expect(const std::optional<nfs::FileHandle>& handle) {
  if (handle) Expect(*handle);
}
void Expect(const nfs::Attributes& attributes) {
  const auto type = static_cast<uint32_t>(attributes.type);
  GANTRY_FUZZ_EXPECT(type >= 1 && type <= 7 && attributes.mode <= 07777);
}
void Expect(const std::optional<nfs::Attributes>& attributes) {
  if (attributes) Expect(*attributes);
}
void ExpectEntry(const nfs::DirEntry& entry) {
  GANTRY_FUZZ_EXPECT(!entry.name.empty() && entry.name.size() <= nfs::kNameBytesMax);
  GANTRY_FUZZ_EXPECT(entry.name.find('/') == std::string::npos &&
                     entry.name.find('\0') == std::string::npos);
}

void Expect(const nfs::Nothing&) {}
void Expect(const nfs::AttributesReply& reply) { Expect(reply.attributes); }
void Expect(const nfs::ChangeReply& reply) { Expect(reply.wcc.after); }
void Expect(const nfs::LookupReply& reply) {
  Expect(reply.handle);
  Expect(reply.attributes);
}
void Expect(const nfs::AccessReply& reply) { Expect(reply.attributes); }
void Expect(const nfs::ReadLinkReply& reply) {
  GANTRY_FUZZ_EXPECT(reply.target.size() <= nfs::kPathBytesMax);
}
void Expect(const nfs::ReadReply& reply) {
  uint8_t sum = 0;
  for (const auto byte : reply.data) sum ^= static_cast<uint8_t>(byte);  // all of it can be read
  (void)sum;
}
void Expect(const nfs::WriteReply& reply) {
  GANTRY_FUZZ_EXPECT(static_cast<uint32_t>(reply.committed) <= 2);
}
void Expect(const nfs::CreateReply& reply) {
  Expect(reply.handle);
  Expect(reply.attributes);
}
void Expect(const nfs::RenameReply& reply) { Expect(reply.to.after); }
void Expect(const nfs::LinkReply& reply) { Expect(reply.attributes); }
void Expect(const nfs::ListReply<nfs::DirEntry>& reply) {
  GANTRY_FUZZ_EXPECT(reply.entries.size() <= nfs::kDirEntriesMax);
  for (const auto& entry : reply.entries) ExpectEntry(entry);
}
void Expect(const nfs::ListReply<nfs::DirEntryPlus>& reply) {
  GANTRY_FUZZ_EXPECT(reply.entries.size() <= nfs::kDirEntriesMax);
  for (const auto& entry : reply.entries) {
    ExpectEntry(entry);
    Expect(entry.handle);
    Expect(entry.attributes);
  }
}
void Expect(const nfs::FsStatReply& reply) { Expect(reply.attributes); }
void Expect(const nfs::FsInfoReply& reply) { Expect(reply.attributes); }
void Expect(const nfs::PathConfReply& reply) { Expect(reply.attributes); }
void Expect(const nfs::CommitReply& reply) { Expect(reply.wcc.after); }

void Expect(const nfs::NfsError& error) {
  GANTRY_FUZZ_EXPECT(!error.message.empty());
  GANTRY_FUZZ_EXPECT(nfs::ToErrno(error) > 0);
  // Never a final code for what may pass (nfs_error.hpp).
  GANTRY_FUZZ_EXPECT(nfs::ToCode(error) != plugin::code::kInternal && nfs::ToCode(error) != 0);
}

template <class Call>
void Decode(Body body) {
  const auto reply = Call::Decode(body);
  if (reply) return Expect(*reply);
  Expect(reply.error());
}

void Mount(Body body) {
  nfs::Server server;
  server.host = "nas";
  server.export_path = "/x";
  const auto root = nfs::DecodeMount(server, body);
  if (root) return Expect(*root);
  Expect(root.error());
}

void Head(Body record) {
  nfs::ReplyHead head;
  if (!nfs::DecodeReplyHead(record, &head)) return;
  GANTRY_FUZZ_EXPECT(head.body_offset <= record.size());
  if (head.status != nfs::ReplyStatus::kSuccess) Expect(nfs::FromReplyHead(head, "CALL"));
}

constexpr void (*kDecoders[])(Body) = {Decode<nfs::NullCall>,
                                       Decode<nfs::GetAttr>,
                                       Decode<nfs::SetAttr>,
                                       Decode<nfs::Lookup>,
                                       Decode<nfs::Access>,
                                       Decode<nfs::ReadLink>,
                                       Decode<nfs::Read>,
                                       Decode<nfs::Write>,
                                       Decode<nfs::Create>,
                                       Decode<nfs::MakeDir>,
                                       Decode<nfs::SymLink>,
                                       Decode<nfs::MakeNode>,
                                       Decode<nfs::Remove>,
                                       Decode<nfs::RemoveDir>,
                                       Decode<nfs::Rename>,
                                       Decode<nfs::Link>,
                                       Decode<nfs::ReadDir>,
                                       Decode<nfs::ReadDirPlus>,
                                       Decode<nfs::FsStat>,
                                       Decode<nfs::FsInfo>,
                                       Decode<nfs::PathConf>,
                                       Decode<nfs::Commit>,
                                       Mount,
                                       Head};

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input input(data, size);
  const size_t number = input.Byte() % std::size(kDecoders);
  const auto rest = input.Rest();
  // Heap of exactly this size, so that a read behind it shows.
  std::vector<std::byte> body(rest.size());
  std::transform(rest.begin(), rest.end(), body.begin(), [](char c) { return std::byte(c); });
  kDecoders[number](body);
  return 0;
}
