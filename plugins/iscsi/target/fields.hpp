// SPDX-License-Identifier: Apache-2.0
// Which fields each message has in JSON and what may be in them: one list a struct, walked by the
// writer and by the reader alike, so that the two cannot drift apart. A field is there or the
// message is refused; only std::optional ones may be left out.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "plugins/iscsi/target/protocol.hpp"

namespace gantry::iscsi::target {

// What a text may be.
struct TextRule {
  size_t bytes_min = 0;
  size_t bytes_max = 0;
  bool (*allows)(std::string_view) = nullptr;  // of what is not empty
  const char* expected = "";
  bool is_secret = false;  // never shown
};

bool IsHandle(std::string_view text);
bool IsHex(std::string_view text);
bool IsIqn(std::string_view text);
bool IsNaa(std::string_view text);
bool IsChapText(std::string_view text);
bool IsHostName(std::string_view text);
bool IsText(std::string_view text);  // no control characters
bool IsTaskKey(std::string_view text);

inline constexpr size_t kMessageBytesMax = 4096;
inline constexpr TextRule kHandleRule{1, kHandleBytesMax, IsHandle,
                                      "1 to 80 of A-Z a-z 0-9 . _ -, a letter or digit first"};
inline constexpr TextRule kNoOrHandleRule{
    0, kHandleBytesMax, IsHandle, "nothing, or a handle of at most 80 of A-Z a-z 0-9 . _ -"};
inline constexpr TextRule kNameRule{0, kNameBytesMax, IsText,
                                    "at most 128 bytes without control characters"};
inline constexpr TextRule kOwnerRule{1, kOwnerBytesMax, IsText,
                                     "1 to 64 bytes without control characters"};
inline constexpr TextRule kNodeIdRule{1, kNodeIdBytesMax, IsText,
                                      "1 to 128 bytes without control characters"};
inline constexpr TextRule kNoOrNodeIdRule{0, kNodeIdBytesMax, IsText,
                                          "at most 128 bytes without control characters"};
inline constexpr TextRule kIqnRule{
    1, kIqnBytesMax, IsIqn, "an iqn., eui. or naa. name of a-z 0-9 . : -, at most 223 bytes"};
inline constexpr TextRule kIncarnationRule{kIncarnationBytes, kIncarnationBytes, IsHex,
                                           "32 lower-case hex digits"};
inline constexpr TextRule kNoOrIncarnationRule{0, kIncarnationBytes, IsHex,
                                               "nothing, or 32 lower-case hex digits"};
inline constexpr TextRule kNaaRule{36, 36, IsNaa, "naa. and 32 lower-case hex digits"};
inline constexpr TextRule kSerialRule{32, 32, IsHex, "32 lower-case hex digits"};
inline constexpr TextRule kChapUserRule{1, kChapUserBytesMax, IsChapText,
                                        "1 to 128 of A-Z a-z 0-9 . _ : + / -"};
inline constexpr TextRule kNoOrChapUserRule{0, kChapUserBytesMax, IsChapText,
                                            "at most 128 of A-Z a-z 0-9 . _ : + / -"};
inline constexpr TextRule kChapPasswordRule{kChapPasswordBytesMin, kChapPasswordBytesMax,
                                            IsChapText, "12 to 128 of A-Z a-z 0-9 . _ : + / -",
                                            true};
inline constexpr TextRule kNoOrChapPasswordRule{
    0, kChapPasswordBytesMax, IsChapText, "nothing, or 12 to 128 of A-Z a-z 0-9 . _ : + / -", true};
inline constexpr TextRule kAddressRule{1, 253, IsHostName, "an address or a host name"};
inline constexpr TextRule kWordRule{1, 64, IsText, "a word"};
inline constexpr TextRule kMessageRule{0, kMessageBytesMax, nullptr, "a sentence"};
inline constexpr TextRule kTaskKeyRule{0, kHandleBytesMax + 16, IsTaskKey,
                                       "nothing, volume/<handle> or snapshot/<handle>"};

struct NumberRule {
  uint64_t max = UINT64_MAX;
};
inline constexpr uint64_t kSizeBytesMax = uint64_t{1} << 60;
inline constexpr NumberRule kSizeRule{kSizeBytesMax};
inline constexpr NumberRule kPageRule{kPageEntriesMax};
inline constexpr NumberRule kPortRule{65535};
inline constexpr NumberRule kAnyNumber{INT64_MAX};
inline constexpr NumberRule kNumber32{UINT32_MAX};

inline constexpr std::array<const char*, 3> kContentKinds = {"none", "volume", "snapshot"};
inline constexpr std::array<const char*, 3> kTaskKinds = {"copy", "restore_targets", "trash"};

// F has Text, Number, Time, Flag, Word, Map, Object, Optional and List. T is the struct, const for
// writers.
template <class T, class Struct>
concept Is = std::is_same_v<std::remove_const_t<T>, Struct>;

template <class F, Is<Portal> T>
void Fields(F& f, T& x) {
  f.Text("address", x.address, kAddressRule);
  f.Number("port", x.port, kPortRule);
}
template <class F, Is<Identity> T>
void Fields(F& f, T& x) {
  f.Text("naa", x.naa, kNaaRule);
  f.Text("serial", x.serial, kSerialRule);
}
template <class F, Is<Content> T>
void Fields(F& f, T& x) {
  f.Word("kind", x.kind, kContentKinds);
  f.Text("handle", x.handle, kNoOrHandleRule);
}
template <class F, Is<Chap> T>
void Fields(F& f, T& x) {
  f.Text("user", x.user, kChapUserRule);
  f.Text("password", x.password, kChapPasswordRule);
  f.Text("user_in", x.user_in, kNoOrChapUserRule);
  f.Text("password_in", x.password_in, kNoOrChapPasswordRule);
}
template <class F, Is<Publication> T>
void Fields(F& f, T& x) {
  f.Text("node_id", x.node_id, kNodeIdRule);
  f.Text("initiator", x.initiator, kIqnRule);
  f.Flag("readonly", x.readonly);
  f.Flag("single_node", x.single_node);
  f.Flag("chap", x.chap);
}
template <class F, Is<Volume> T>
void Fields(F& f, T& x) {
  f.Text("handle", x.handle, kHandleRule);
  f.Text("incarnation", x.incarnation, kIncarnationRule);
  f.Text("name", x.name, kNameRule);
  f.Text("owner", x.owner, kOwnerRule);
  f.Number("size_bytes", x.size_bytes, kSizeRule);
  f.Text("iqn", x.iqn, kIqnRule);
  f.Number("lun", x.lun, kNumber32);
  f.List("portals", x.portals, kParametersMax);
  f.Object("identity", x.identity);
  f.Map("parameters", x.parameters);
  f.Map("mutable_parameters", x.mutable_parameters);
  f.Object("content", x.content);
  f.List("nodes", x.nodes, kNodesOfVolumeMax);
  f.Flag("never_written", x.never_written);
  f.Time("created_ns", x.created_ns);
  f.Text("problem", x.problem, kMessageRule);
}
template <class F, Is<Snapshot> T>
void Fields(F& f, T& x) {
  f.Text("handle", x.handle, kHandleRule);
  f.Text("incarnation", x.incarnation, kIncarnationRule);
  f.Text("name", x.name, kNameRule);
  f.Text("owner", x.owner, kOwnerRule);
  f.Text("source", x.source, kHandleRule);
  f.Number("size_bytes", x.size_bytes, kSizeRule);
  f.Map("parameters", x.parameters);
  f.Time("created_ns", x.created_ns);
}
template <class F, Is<Task> T>
void Fields(F& f, T& x) {
  f.Word("kind", x.kind, kTaskKinds);
  f.Text("key", x.key, kTaskKeyRule);
}
template <class F, Is<Empty> T>
void Fields(F& /*f*/, T& /*x*/) {}
template <class F, Is<Description> T>
void Fields(F& f, T& x) {
  f.Number("version_min", x.version_min, kNumber32);
  f.Number("version_max", x.version_max, kNumber32);
  f.Text("program", x.program, kWordRule);
  f.Text("kind", x.kind, kWordRule);
  f.Text("filesystem", x.filesystem, kWordRule);
  f.Flag("reflink", x.reflink);
  f.Flag("chap", x.chap);
  f.Flag("expand_interrupts", x.expand_interrupts);
  f.List("portals", x.portals, kParametersMax);
  f.Number("total_bytes", x.total_bytes, kAnyNumber);
  f.Number("available_bytes", x.available_bytes, kAnyNumber);
}
template <class F, Is<Describe> T>
void Fields(F& /*f*/, T& /*x*/) {}
template <class F, Is<Capacity> T>
void Fields(F& f, T& x) {
  f.Number("total_bytes", x.total_bytes, kAnyNumber);
  f.Number("available_bytes", x.available_bytes, kAnyNumber);
  f.Number("volume_bytes_max", x.volume_bytes_max, kAnyNumber);
  f.Number("volume_bytes_min", x.volume_bytes_min, kAnyNumber);
}
template <class F, Is<GetCapacity> T>
void Fields(F& /*f*/, T& /*x*/) {}
template <class F, Is<CreatedVolume> T>
void Fields(F& f, T& x) {
  f.Optional("volume", x.volume);
  f.Optional("task", x.task);
}
template <class F, Is<CreateVolume> T>
void Fields(F& f, T& x) {
  f.Text("handle", x.handle, kHandleRule);
  f.Text("name", x.name, kNameRule);
  f.Number("required_bytes", x.required_bytes, kSizeRule);
  f.Number("limit_bytes", x.limit_bytes, kSizeRule);
  f.Map("parameters", x.parameters);
  f.Map("mutable_parameters", x.mutable_parameters);
  f.Object("content", x.content);
}
template <class F, Is<GetVolume> T>
void Fields(F& f, T& x) {
  f.Text("handle", x.handle, kHandleRule);
}
template <class F, Is<VolumePage> T>
void Fields(F& f, T& x) {
  f.List("volumes", x.volumes, kPageEntriesMax);
  f.Flag("more", x.more);
}
template <class F, Is<ListVolumes> T>
void Fields(F& f, T& x) {
  f.Text("after", x.after, kNoOrHandleRule);
  f.Number("max_entries", x.max_entries, kPageRule);
}
template <class F, Is<Deleted> T>
void Fields(F& f, T& x) {
  f.Optional("task", x.task);
}
template <class F, Is<DeleteVolume> T>
void Fields(F& f, T& x) {
  f.Text("handle", x.handle, kHandleRule);
  f.Text("incarnation", x.incarnation, kNoOrIncarnationRule);
}
template <class F, Is<ExpandVolume> T>
void Fields(F& f, T& x) {
  f.Text("handle", x.handle, kHandleRule);
  f.Number("required_bytes", x.required_bytes, kSizeRule);
  f.Number("limit_bytes", x.limit_bytes, kSizeRule);
  f.Flag("online", x.online);
}
template <class F, Is<ModifyVolume> T>
void Fields(F& f, T& x) {
  f.Text("handle", x.handle, kHandleRule);
  f.Map("mutable_parameters", x.mutable_parameters);
}
template <class F, Is<PublishVolume> T>
void Fields(F& f, T& x) {
  f.Text("handle", x.handle, kHandleRule);
  f.Text("incarnation", x.incarnation, kNoOrIncarnationRule);
  f.Text("node_id", x.node_id, kNodeIdRule);
  f.Text("initiator", x.initiator, kIqnRule);
  f.Flag("readonly", x.readonly);
  f.Flag("single_node", x.single_node);
  f.Optional("chap", x.chap);
}
template <class F, Is<UnpublishVolume> T>
void Fields(F& f, T& x) {
  f.Text("handle", x.handle, kHandleRule);
  f.Text("incarnation", x.incarnation, kNoOrIncarnationRule);
  f.Text("node_id", x.node_id, kNoOrNodeIdRule);
}
template <class F, Is<CreatedSnapshot> T>
void Fields(F& f, T& x) {
  f.Optional("snapshot", x.snapshot);
  f.Optional("task", x.task);
}
template <class F, Is<CreateSnapshot> T>
void Fields(F& f, T& x) {
  f.Text("handle", x.handle, kHandleRule);
  f.Text("name", x.name, kNameRule);
  f.Text("source", x.source, kHandleRule);
  f.Map("parameters", x.parameters);
}
template <class F, Is<GetSnapshot> T>
void Fields(F& f, T& x) {
  f.Text("handle", x.handle, kHandleRule);
}
template <class F, Is<SnapshotPage> T>
void Fields(F& f, T& x) {
  f.List("snapshots", x.snapshots, kPageEntriesMax);
  f.Flag("more", x.more);
}
template <class F, Is<ListSnapshots> T>
void Fields(F& f, T& x) {
  f.Text("after", x.after, kNoOrHandleRule);
  f.Number("max_entries", x.max_entries, kPageRule);
  f.Text("source", x.source, kNoOrHandleRule);
}
template <class F, Is<DeleteSnapshot> T>
void Fields(F& f, T& x) {
  f.Text("handle", x.handle, kHandleRule);
}
template <class F, Is<Progress> T>
void Fields(F& f, T& x) {
  f.Number("done", x.done, kAnyNumber);
  f.Number("total", x.total, kAnyNumber);
  f.Flag("finished", x.finished);
}
template <class F, Is<RunTask> T>
void Fields(F& f, T& x) {
  f.Object("task", x.task);
}
template <class F, Is<Rebuild> T>
void Fields(F& /*f*/, T& /*x*/) {}

}  // namespace gantry::iscsi::target
