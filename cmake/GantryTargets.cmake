# SPDX-License-Identifier: Apache-2.0
# How a target is made here: warnings, sanitizers, output folders, and the unit tests beside the code.

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

set(GANTRY_SANITIZE "" CACHE STRING "Sanitizers for -fsanitize=, empty for none")

set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(GANTRY_PLUGIN_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib/gantry/plugins)

find_program(GANTRY_CCACHE ccache)
if(GANTRY_CCACHE)
  set(CMAKE_C_COMPILER_LAUNCHER ${GANTRY_CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${GANTRY_CCACHE})
endif()

add_compile_definitions(_GNU_SOURCE _FILE_OFFSET_BITS=64)
add_compile_options(-fno-omit-frame-pointer -ffunction-sections -fdata-sections)
add_link_options(-Wl,--gc-sections -Wl,-z,relro,-z,now)
find_program(GANTRY_MOLD mold)
if(GANTRY_MOLD)
  add_link_options(-fuse-ld=mold)
endif()
# Where containers and guests of tests see it too.
configure_file(${CMAKE_SOURCE_DIR}/tests/tsan.supp ${CMAKE_BINARY_DIR}/tsan.supp COPYONLY)
if(GANTRY_SANITIZE)
  add_compile_options(-fsanitize=${GANTRY_SANITIZE} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${GANTRY_SANITIZE})
  add_compile_definitions(GANTRY_SANITIZED=1)
  if(GANTRY_SANITIZE STREQUAL thread)
    # With it protobuf's headers add members to maps that the installed library does not know of. Our
    # own files that have to know are told by GANTRY_SANITIZED_THREADS, in their folders.
    add_compile_options(-U__SANITIZE_THREAD__)
  endif()
endif()
option(GANTRY_FUZZ "Count coverage for libFuzzer; needs clang" OFF)
if(GANTRY_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

add_library(gantry_warnings INTERFACE)
target_compile_options(gantry_warnings INTERFACE
  -Wall -Wextra -Werror -Wshadow -Wvla -Wundef
  $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor -Woverloaded-virtual>)
target_include_directories(gantry_warnings INTERFACE ${CMAKE_SOURCE_DIR})

# gantry_library(NAME SOURCES... LINK targets...): a static library with the project's warnings.
function(gantry_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;LINK" ${ARGN})
  add_library(${name} STATIC ${arg_SOURCES})
  target_link_libraries(${name} PUBLIC ${arg_LINK} PRIVATE gantry_warnings)
  target_include_directories(${name} PUBLIC ${CMAKE_SOURCE_DIR})
endfunction()

# gantry_executable(NAME SOURCES... LINK targets...): a program in bin/.
function(gantry_executable name)
  cmake_parse_arguments(arg "" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE ${arg_LINK} gantry_warnings)
endfunction()

# gantry_test(NAME SOURCES... LINK targets... [LABEL label]): one GoogleTest program, one ctest entry.
function(gantry_test name)
  cmake_parse_arguments(arg "" "LABEL;TIMEOUT_S" "SOURCES;LINK" ${ARGN})
  if(NOT arg_LABEL)
    set(arg_LABEL unit)
  endif()
  if(NOT arg_TIMEOUT_S)
    set(arg_TIMEOUT_S 120)
  endif()
  set(tsan_options suppressions=${CMAKE_BINARY_DIR}/tsan.supp)
  if(GANTRY_SANITIZE)
    math(EXPR arg_TIMEOUT_S "${arg_TIMEOUT_S} * 4")
    if(arg_LABEL STREQUAL integration)
      # gRPC, in gantryd, is not instrumented.
      string(APPEND tsan_options " ignore_noninstrumented_modules=1")
    endif()
  endif()
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE ${arg_LINK} gantry_warnings GTest::gmock GTest::gtest_main)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS ${arg_LABEL} TIMEOUT ${arg_TIMEOUT_S}
    ENVIRONMENT "GANTRY_BUILD_DIR=${CMAKE_BINARY_DIR};GANTRY_SOURCE_DIR=${CMAKE_SOURCE_DIR};TSAN_OPTIONS=${tsan_options}")
endfunction()

# gantry_vm_test(NAME COMMAND words... [TIMEOUT_S s]): one ctest entry "vm_NAME" that runs these words in
# the guest of tests/vm, in the build folder; TIMEOUT_S is for the guest's whole life.
function(gantry_vm_test name)
  cmake_parse_arguments(arg "" "TIMEOUT_S" "COMMAND" ${ARGN})
  if(NOT arg_TIMEOUT_S)
    set(arg_TIMEOUT_S 300)
  endif()
  math(EXPR outer_s "${arg_TIMEOUT_S} + 30")
  add_test(NAME vm_${name}
    COMMAND ${CMAKE_SOURCE_DIR}/tests/vm/run --time-limit-s ${arg_TIMEOUT_S} -- ${arg_COMMAND}
    WORKING_DIRECTORY ${CMAKE_BINARY_DIR})
  set_tests_properties(vm_${name} PROPERTIES LABELS vm TIMEOUT ${outer_s} PROCESSORS 2
    ENVIRONMENT "GANTRY_BUILD_DIR=${CMAKE_BINARY_DIR};GANTRY_SOURCE_DIR=${CMAKE_SOURCE_DIR};TSAN_OPTIONS=suppressions=${CMAKE_BINARY_DIR}/tsan.supp")
endfunction()

# gantry_plugin(NAME SOURCES... LINK targets...): lib/gantry/plugins/NAME.so, exporting the entry alone.
function(gantry_plugin name)
  cmake_parse_arguments(arg "" "" "SOURCES;LINK" ${ARGN})
  add_library(gantry_plugin_${name} MODULE ${arg_SOURCES})
  target_link_libraries(gantry_plugin_${name} PRIVATE gantry_sdk ${arg_LINK} gantry_warnings)
  set_target_properties(gantry_plugin_${name} PROPERTIES
    PREFIX "" OUTPUT_NAME ${name}
    LIBRARY_OUTPUT_DIRECTORY ${GANTRY_PLUGIN_OUTPUT_DIRECTORY}
    C_VISIBILITY_PRESET hidden CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
    LINK_DEPENDS ${CMAKE_SOURCE_DIR}/sdk/plugin.version)
  target_compile_options(gantry_plugin_${name} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-fno-gnu-unique>)
  target_link_options(gantry_plugin_${name} PRIVATE
    -Wl,--version-script=${CMAKE_SOURCE_DIR}/sdk/plugin.version)
endfunction()
