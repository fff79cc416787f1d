# Compiler settings, libraries from the system, and the two functions every folder uses:
#   goldlink_library(NAME [PCH] SOURCES ... LIBRARIES ...)   a static library of this tree
#   goldlink_test(NAME LABEL label SOURCES ... LIBRARIES ...) a Catch2 executable, run by ctest

option(GOLDLINK_TESTS "build the tests" ON)
option(GOLDLINK_PCH "use precompiled headers" ON)
set(GOLDLINK_SANITIZE "" CACHE STRING "address, thread or empty")

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)

find_program(GOLDLINK_CCACHE ccache)
if(GOLDLINK_CCACHE)
    # The precompiled header is part of the key by content, so that a fresh clone hits the cache.
    set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
        CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1
        CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
        ${GOLDLINK_CCACHE})
endif()
find_program(GOLDLINK_MOLD mold)
if(GOLDLINK_MOLD AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_link_options(-fuse-ld=mold)
endif()

add_compile_options(-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wnon-virtual-dtor
    -Wold-style-cast -Woverloaded-virtual -Wnull-dereference -Werror -fno-strict-aliasing)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # g++ 12 reports false positives of these inside libstdc++ and Boost once it inlines.
    add_compile_options(-Wno-restrict -Wno-null-dereference -Wno-maybe-uninitialized
        -Wno-stringop-overflow -Wno-array-bounds -Wno-stringop-overread -fpch-preprocess)
endif()
if(GOLDLINK_SANITIZE STREQUAL "address")
    add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
    add_link_options(-fsanitize=address,undefined)
elseif(GOLDLINK_SANITIZE STREQUAL "thread")
    # The sanitizer does not know fences (-Wtsan). Asio's guard its handlers beside the queue's mutex,
    # which it does know, so they are left out; io_uring's are between the kernel and us.
    add_compile_options(-fsanitize=thread -fno-omit-frame-pointer -Wno-tsan)
    add_compile_definitions(BOOST_ASIO_DISABLE_FENCED_BLOCK)
    add_link_options(-fsanitize=thread)
endif()

# Debian's own interpreter: packages such as python3-yaml belong to it.
find_program(Python3_EXECUTABLE python3 PATHS /usr/bin NO_DEFAULT_PATH)
find_package(Python3 REQUIRED COMPONENTS Interpreter)
find_package(Threads REQUIRED)
find_package(Boost 1.81 EXACT REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(PkgConfig REQUIRED)
foreach(library lmdb liburing libisal libiscsi libpq libzstd tsk)
    pkg_check_modules(${library} REQUIRED IMPORTED_TARGET ${library})
endforeach()

add_library(goldlink_flags INTERFACE)
target_include_directories(goldlink_flags INTERFACE ${CMAKE_SOURCE_DIR})
target_include_directories(goldlink_flags SYSTEM INTERFACE ${Boost_INCLUDE_DIRS})
target_compile_definitions(goldlink_flags INTERFACE
    SPDLOG_COMPILED_LIB SPDLOG_FMT_EXTERNAL BOOST_ASIO_NO_DEPRECATED BOOST_ASIO_SEPARATE_COMPILATION
    BOOST_BEAST_SEPARATE_COMPILATION
    GOLDLINK_VERSION="${PROJECT_VERSION}")
target_link_libraries(goldlink_flags INTERFACE Threads::Threads fmt::fmt spdlog::spdlog)

# Tests of stores that lose power or run full fork; the child's own threads are what they test.
set(GOLDLINK_TEST_ENVIRONMENT)
set(GOLDLINK_TEST_SECONDS 120)
set(GOLDLINK_TEST_SLOWER 1)
if(GOLDLINK_SANITIZE)
    set(GOLDLINK_TEST_SLOWER 3)
endif()
if(GOLDLINK_SANITIZE STREQUAL "thread")
    set(GOLDLINK_TEST_SLOWER 10)
    set(GOLDLINK_TEST_ENVIRONMENT "TSAN_OPTIONS=die_after_fork=0")
endif()

function(goldlink_library name)
    cmake_parse_arguments(arg "PCH" "" "SOURCES;LIBRARIES" ${ARGN})
    add_library(${name} STATIC ${arg_SOURCES})
    target_link_libraries(${name} PUBLIC goldlink_flags ${arg_LIBRARIES})
    if(arg_PCH AND GOLDLINK_PCH)
        target_precompile_headers(${name} PRIVATE ${CMAKE_SOURCE_DIR}/cmake/pch.hpp)
    endif()
endfunction()

function(goldlink_test name)
    cmake_parse_arguments(arg "" "LABEL;TIMEOUT" "SOURCES;LIBRARIES" ${ARGN})
    add_executable(${name} ${arg_SOURCES})
    target_link_libraries(${name} PRIVATE goldlink_flags goldlink_test_main ${arg_LIBRARIES})
    add_test(NAME ${name} COMMAND ${name})
    if(NOT arg_TIMEOUT)
        set(arg_TIMEOUT ${GOLDLINK_TEST_SECONDS})
    endif()
    math(EXPR arg_TIMEOUT "${arg_TIMEOUT} * ${GOLDLINK_TEST_SLOWER}")
    set_tests_properties(${name} PROPERTIES LABELS ${arg_LABEL} TIMEOUT ${arg_TIMEOUT}
        ENVIRONMENT "${GOLDLINK_TEST_ENVIRONMENT}")
endfunction()

# goldlink_python_test(NAME LABEL label FILE test_x.py [TIMEOUT seconds] [SERIAL]): a Python unittest
# file, run by ctest against this build's programs; SERIAL keeps the machine for itself.
function(goldlink_python_test name)
    cmake_parse_arguments(arg "SERIAL" "LABEL;FILE;TIMEOUT" "" ${ARGN})
    if(NOT arg_TIMEOUT)
        set(arg_TIMEOUT 300)
    endif()
    math(EXPR arg_TIMEOUT "${arg_TIMEOUT} * ${GOLDLINK_TEST_SLOWER}")
    add_test(NAME ${name} COMMAND ${Python3_EXECUTABLE} -B ${CMAKE_CURRENT_SOURCE_DIR}/${arg_FILE} -v)
    set_tests_properties(${name} PROPERTIES LABELS ${arg_LABEL} TIMEOUT ${arg_TIMEOUT}
        ENVIRONMENT "GOLDLINK_BIN=${CMAKE_RUNTIME_OUTPUT_DIRECTORY};PYTHONPATH=${CMAKE_SOURCE_DIR}/tests;${GOLDLINK_TEST_ENVIRONMENT}"
        RUN_SERIAL "${arg_SERIAL}")
endfunction()
