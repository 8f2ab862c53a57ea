plugins {
    id("com.android.application") version "8.11.0"
    id("org.jetbrains.kotlin.android") version "2.2.21"
}

android {
    namespace = "io.github.sa3edge.sample"
    compileSdk = 35
    defaultConfig {
        applicationId = "io.github.sa3edge.sample"
        minSdk = 24
        targetSdk = 35
        versionCode = 1
        versionName = "1"
        ndk { abiFilters += listOf("arm64-v8a", "x86_64") }
    }
    packaging { resources.excludes += "META-INF/LICENSE" }
}

dependencies {
    implementation("io.github.sa3edge:sa3-edge:0.1.0")
    implementation("com.microsoft.onnxruntime:onnxruntime-android:1.27.0")
    implementation("org.jetbrains.kotlinx:kotlinx-coroutines-android:1.10.2")
}
