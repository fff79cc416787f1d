# Fuzz targets of the iSCSI protocol engine: a project of its own in iscsi/, since libFuzzer needs
# clang. `ninja goldlink_fuzz_iscsi` builds all three; ctest does so and gives each twenty seconds
# over the corpus in the tree.
find_program(GOLDLINK_CLANG NAMES clang++)
if(NOT GOLDLINK_CLANG)
    return()
endif()
include(ExternalProject)
set(iscsi_fuzz ${CMAKE_CURRENT_BINARY_DIR}/iscsi)
ExternalProject_Add(goldlink_fuzz_iscsi
    SOURCE_DIR ${CMAKE_CURRENT_LIST_DIR}/iscsi
    BINARY_DIR ${iscsi_fuzz}
    PREFIX ${iscsi_fuzz}/external
    CMAKE_ARGS -DCMAKE_CXX_COMPILER=${GOLDLINK_CLANG} -DGOLDLINK_SOURCE=${CMAKE_SOURCE_DIR}
    BUILD_ALWAYS ON
    EXCLUDE_FROM_ALL ON
    INSTALL_COMMAND "")
add_test(NAME fuzz_iscsi_build
    COMMAND ${CMAKE_COMMAND} --build ${CMAKE_BINARY_DIR} --target goldlink_fuzz_iscsi)
set_tests_properties(fuzz_iscsi_build PROPERTIES LABELS fuzz TIMEOUT 600 FIXTURES_SETUP fuzz_iscsi
    RESOURCE_LOCK ninja)
foreach(target text login session)
    set(found ${CMAKE_CURRENT_BINARY_DIR}/corpus_iscsi_${target})
    file(MAKE_DIRECTORY ${found})
    add_test(NAME fuzz_iscsi_${target}
        COMMAND ${iscsi_fuzz}/fuzz_${target} -max_total_time=20 -timeout=10 -rss_limit_mb=2048
            -max_len=20000 ${found} ${CMAKE_CURRENT_LIST_DIR}/iscsi/corpus/${target}
        WORKING_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR})
    set_tests_properties(fuzz_iscsi_${target} PROPERTIES LABELS fuzz TIMEOUT 120
        FIXTURES_REQUIRED fuzz_iscsi)
endforeach()
