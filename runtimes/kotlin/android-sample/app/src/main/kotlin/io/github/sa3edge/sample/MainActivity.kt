package io.github.sa3edge.sample

import android.Manifest
import android.app.Activity
import android.content.Intent
import android.os.Build
import android.os.Bundle
import android.widget.Button
import android.widget.EditText
import android.widget.LinearLayout

/** A prompt and a button. */
class MainActivity : Activity() {
    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        if (Build.VERSION.SDK_INT >= 33) requestPermissions(arrayOf(Manifest.permission.POST_NOTIFICATIONS), 0)
        val prompt = EditText(this).apply { setText("lofi piano") }
        val button = Button(this).apply {
            text = "Make music"
            setOnClickListener {
                val intent = Intent(this@MainActivity, GenerationService::class.java)
                    .putExtra(GenerationService.PROMPT, prompt.text.toString())
                if (Build.VERSION.SDK_INT >= 26) startForegroundService(intent) else startService(intent)
            }
        }
        setContentView(
            LinearLayout(this).apply {
                orientation = LinearLayout.VERTICAL
                addView(prompt)
                addView(button)
            },
        )
    }
}
